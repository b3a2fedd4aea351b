// e^x for what is small, on vectors of any kind: the polynomial of Cephes' expf.
//
// Two more exponentials stay as they are, because their bits would change: that of power.hpp (the search for ranges)
// and that of kernels/amx/attention.hpp, which is shorter and masked.
#pragma once

#include "vectors/inlining.hpp"

namespace tersor {

// e^x = power * 2^whole, for |x| < 2^22.
template <typename Floats>
struct Exponential {
  Floats power, whole;
};

template <typename Floats>
TERSOR_INLINE inline Exponential<Floats> exponential_parts(Floats x) {
  constexpr float kShift = 12582912.0f;  // adding it and taking it away rounds to an integer
  Exponential<Floats> parts;
  parts.whole = (x * 1.44269504f + kShift) - kShift;
  const Floats rest = (x - parts.whole * 0.693359375f) + parts.whole * 2.12194440e-4f;
  Floats power = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  power = power * rest + 8.3334519073e-3f;
  power = power * rest + 4.1665795894e-2f;
  power = power * rest + 1.6666665459e-1f;
  power = power * rest + 5.0000001201e-1f;
  parts.power = (power * rest) * rest + rest + 1.0f;
  return parts;
}

}  // namespace tersor

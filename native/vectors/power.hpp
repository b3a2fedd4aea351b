// Powers of vectors, lane by lane, with the same bits for every width; the files that include this
// are compiled with -ffp-contract=off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "vectors/any_width.hpp"

namespace tersor {

// log2 of positive numbers: 2/ln 2 * artanh((m - 1)/(m + 1)) plus the exponent, m being within
// sqrt(1/2)...sqrt(2). Zero and subnormal numbers give -127, infinity gives 128.
template <std::size_t kBytes>
TERSOR_INLINE inline void log2_vector(Vector<float, kBytes>& x) {
  using Floats = Vector<float, kBytes>;
  using Integers = Vector<std::int32_t, kBytes>;
  constexpr std::int32_t kOne = 0x3f800000, kSqrtHalf = 0x3f3504f3, kMantissa = 0x007fffff;
  constexpr float kScale = 2.88539008f;
  const Integers shifted = reinterpret_cast<const Integers&>(x) + (kOne - kSqrtHalf);
  const Integers exponent = (shifted >> 23) - 127;
  const Integers mantissa = (shifted & kMantissa) + kSqrtHalf;
  const Floats m = reinterpret_cast<const Floats&>(mantissa);
  const Floats s = (m - 1.0f) / (m + 1.0f), square = s * s;
  const Floats series =
      (((square * (1.0f / 9) + 1.0f / 7) * square + 1.0f / 5) * square + 1.0f / 3) * square;
  x = __builtin_convertvector(exponent, Floats) + (s + s * series) * kScale;
}

// 2^x, with a series of its own and not that of exponential.hpp, because its bits would change; 0 below the normal numbers and infinity above them.
template <std::size_t kBytes>
TERSOR_INLINE inline void exp2_vector(Vector<float, kBytes>& x) {
  using Floats = Vector<float, kBytes>;
  using Integers = Vector<std::int32_t, kBytes>;
  constexpr float kShift = 12582912.0f, kSmallest = -126.0f, kLargest = 127.0f, kLn2 = 0.693147181f;
  const Floats raised = x > kSmallest ? x : Floats{} + kSmallest;
  const Floats within = raised < kLargest ? raised : Floats{} + kLargest;
  const Floats whole = (within + kShift) - kShift;
  const Floats t = (within - whole) * kLn2;
  Floats series = t * (1.0f / 5040) + 1.0f / 720;
  for (const float term : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    series = series * t + term;
  }
  const Integers power = (__builtin_convertvector(whole, Integers) + 127) << 23;
  series *= reinterpret_cast<const Floats&>(power);
  series = x < kSmallest ? Floats{} : series;
  x = x > kLargest ? Floats{} + std::numeric_limits<float>::infinity() : series;
}

// |x|^exponent, to about 1e-6 of it for results within 1e-10...1e10, for exponents of at least 1.
template <std::size_t kBytes>
TERSOR_INLINE inline void power_vector(Vector<float, kBytes>& x, float exponent) {
  x = x < 0.0f ? -x : x;
  log2_vector<kBytes>(x);
  x *= exponent;
  exp2_vector<kBytes>(x);
}

}  // namespace tersor

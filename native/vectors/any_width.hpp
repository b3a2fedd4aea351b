// Vectors of any width, the choice of a width at run time, and the one loop in which both the
// factorization and the rounding of GPTQ spend their time.
//
// Every width gives the same bits: lanes never mix, sums run over k in order, and the files that
// include this are compiled with -ffp-contract=off, because a fused multiply-add rounds once where
// the baseline has to round twice.
#pragma once

#include <cstddef>
#include <type_traits>

#include "vectors/inlining.hpp"

namespace tersor {

template <std::size_t kBytes>
using Width = std::integral_constant<std::size_t, kBytes>;

#if defined(__x86_64__) && defined(__GNUC__)

template <typename Body>
__attribute__((target("avx512f"))) void run_with_avx512(const Body& body) {
  body(Width<64>{});
}

template <typename Body>
__attribute__((target("avx2"))) void run_with_avx2(const Body& body) {
  body(Width<32>{});
}

#endif

// Calls `body`, a lambda marked TERSOR_INLINE, with the widest vectors that this machine has.
template <typename Body>
void with_vectors(const Body& body) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f")) return run_with_avx512(body);
  if (__builtin_cpu_supports("avx2")) return run_with_avx2(body);
#endif
  body(Width<16>{});
}

template <typename T, std::size_t kBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
};

template <typename T, std::size_t kBytes>
using Vector = typename VectorOf<T, kBytes>::type;

template <std::size_t kBytes, typename T>
TERSOR_INLINE inline Vector<T, kBytes>& at(T* lanes) {
  return *reinterpret_cast<Vector<T, kBytes>*>(lanes);
}

template <std::size_t kBytes, typename T>
TERSOR_INLINE inline const Vector<T, kBytes>& at(const T* lanes) {
  return *reinterpret_cast<const Vector<T, kBytes>*>(lanes);
}

// Rows `stride` apart, of which a function uses as many lanes as it says.
template <typename T>
struct Strided {
  T* data;
  std::size_t stride;
  T* row(std::size_t index) const { return data + index * stride; }
};

// targets[c] += sum over k of coefficients[c][k] * values[k], for kRows rows c and two vectors.
template <std::size_t kBytes, std::size_t kRows, typename T>
TERSOR_INLINE inline void add_products_tile(Strided<const T> coefficients, Strided<const T> values, std::size_t count,
                                            Strided<T> targets) {
  constexpr std::size_t kLanes = kBytes / sizeof(T);
  Vector<T, kBytes> sums[kRows][2];
  for (std::size_t c = 0; c < kRows; ++c) {
    for (std::size_t v = 0; v < 2; ++v) sums[c][v] = at<kBytes>(targets.row(c) + v * kLanes);
  }
  for (std::size_t k = 0; k < count; ++k) {
    const Vector<T, kBytes> first = at<kBytes>(values.row(k));
    const Vector<T, kBytes> second = at<kBytes>(values.row(k) + kLanes);
    for (std::size_t c = 0; c < kRows; ++c) {
      const T coefficient = coefficients.row(c)[k];
      sums[c][0] += coefficient * first;
      sums[c][1] += coefficient * second;
    }
  }
  for (std::size_t c = 0; c < kRows; ++c) {
    for (std::size_t v = 0; v < 2; ++v) at<kBytes>(targets.row(c) + v * kLanes) = sums[c][v];
  }
}

// The same for any number of rows, and kTotal lanes: 128 bytes or a multiple.
template <std::size_t kBytes, std::size_t kTotal, typename T>
TERSOR_INLINE inline void add_products(Strided<const T> coefficients, Strided<const T> values, std::size_t count,
                                       Strided<T> targets, std::size_t rows) {
  constexpr std::size_t kRows = 4, kStep = 2 * kBytes / sizeof(T);
  static_assert(kTotal % kStep == 0);
  for (std::size_t lane = 0; lane < kTotal; lane += kStep) {
    const Strided<const T> here = {values.data + lane, values.stride};
    const Strided<T> to = {targets.data + lane, targets.stride};
    std::size_t row = 0;
    for (; row + kRows <= rows; row += kRows) {
      add_products_tile<kBytes, kRows, T>({coefficients.row(row), coefficients.stride}, here, count,
                                          {to.row(row), to.stride});
    }
    for (; row < rows; ++row) {
      add_products_tile<kBytes, 1, T>({coefficients.row(row), coefficients.stride}, here, count,
                                      {to.row(row), to.stride});
    }
  }
}

}  // namespace tersor

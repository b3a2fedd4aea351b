#include "measuring/moments_kernel.hpp"

#include "vectors/any_width.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace tersor {
namespace {

// One register tile. Sums start at 0 and not with the target: short sums lose less.
template <std::size_t kBytes, std::size_t kRows, std::size_t kVectors>
TERSOR_INLINE inline void add_tile(const float* left, const float* right, std::size_t count, float* target,
                                   std::size_t stride) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  using Floats = Vector<float, kBytes>;
  Floats sums[kRows][kVectors] = {};
  for (std::size_t k = 0; k < count; ++k, left += kMomentColumns, right += kMomentColumns) {
    Floats columns[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) columns[v] = at<kBytes>(right + v * kLanes);
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] += left[r] * columns[v];
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      at<kBytes>(target + r * stride + v * kLanes) += sums[r][v];
    }
  }
}

// As many rows and vectors at once as there are registers for.
template <std::size_t kBytes, std::size_t kRows, std::size_t kVectors>
TERSOR_INLINE inline void add_band(const float* left, const float* right, std::size_t count, float* target,
                                    std::size_t stride) {
  constexpr std::size_t kColumns = kVectors * kBytes / sizeof(float);
  static_assert(kMomentRows % kRows == 0 && kMomentColumns % kColumns == 0);
  for (std::size_t row = 0; row < kMomentRows; row += kRows) {
    for (std::size_t column = 0; column < kMomentColumns; column += kColumns) {
      add_tile<kBytes, kRows, kVectors>(left + row, right + column, count,
                                        target + row * stride + column, stride);
    }
  }
}

void band_portable(const float* left, const float* right, std::size_t count, float* target,
                    std::size_t stride) {
  add_band<16, 4, 2>(left, right, count, target, stride);
}

#if defined(__x86_64__) && defined(__GNUC__)

__attribute__((target("avx2,fma"))) void band_avx2(const float* left, const float* right,
                                                    std::size_t count, float* target,
                                                    std::size_t stride) {
  add_band<32, 4, 3>(left, right, count, target, stride);
}

__attribute__((target("avx512f"))) void band_avx512(const float* left, const float* right,
                                                     std::size_t count, float* target,
                                                     std::size_t stride) {
  add_band<64, 8, 3>(left, right, count, target, stride);
}

__attribute__((target("avx512f,avx512bf16"))) void band_pairs(const std::uint32_t* left,
                                                               const std::uint32_t* right,
                                                               std::size_t count, float* target,
                                                               std::size_t stride) {
  constexpr std::size_t kLanes = 16, kVectors = kMomentColumns / kLanes;
  __m512 sums[kMomentRows][kVectors];
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm512_setzero_ps();
  }
  for (std::size_t k = 0; k < count; ++k, left += kMomentColumns, right += kMomentColumns) {
    __m512bh columns[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      columns[v] = (__m512bh)_mm512_loadu_si512(right + v * kLanes);
    }
    for (std::size_t r = 0; r < kMomentRows; ++r) {
      const __m512bh pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(left[r]));
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], pair, columns[v]);
      }
    }
  }
  for (std::size_t r = 0; r < kMomentRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* to = target + r * stride + v * kLanes;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sums[r][v]));
    }
  }
}

#endif

}  // namespace

MomentKernel<float> float_kernel() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f")) return band_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return band_avx2;
#endif
  return band_portable;
}

MomentKernel<std::uint32_t> pair_kernel() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16")) return band_pairs;
#endif
  return nullptr;
}

}  // namespace tersor

#include "quantizing/gptq.hpp"

#include <algorithm>

#include "vectors/any_width.hpp"

namespace tersor {
namespace {

// Above this many levels a search by halves is faster than comparing with every boundary at once.
constexpr std::size_t kFewLevels = 32;

// One strip.
struct Strip {
  const float* original;
  float* targets;
  float* errors;
  std::uint8_t* codes;
  const float* scale;
  const float* lowest;
};

TERSOR_INLINE inline Strip strip_of(const GptqStrips& all, const GptqScales& scales, std::size_t strip) {
  const std::size_t start = strip * all.columns * kStripRows;
  const std::size_t parameters = strip * scales.steps * kStripRows;
  return {all.original + start, all.targets + start,       all.errors + start,
          all.codes + start,    scales.scale + parameters, scales.lowest + parameters};
}

// targets[first..last] += shares of the errors from `known` up to `first`.
template <std::size_t kBytes>
TERSOR_INLINE inline void feed(const GptqStrips& all, float* targets, const float* errors, std::size_t known,
                               std::size_t first, std::size_t last) {
  add_products<kBytes, kStripRows, float>(
      {all.feedback + first * all.columns + known, all.columns},
      {errors + known * kStripRows, kStripRows}, first - known,
      {targets + first * kStripRows, kStripRows}, last - first);
}

// Integers, ties to even. Clamping first gives the same as clamping after, since the ends are
// integers, and leaves numbers so small that adding 1.5 * 2^23 pushes all fractional bits out.
template <std::size_t kBytes>
TERSOR_INLINE inline void round_vector(const IntegerLevels& grid, const Vector<float, kBytes>& value,
                                       const float* lowest, Vector<float, kBytes>& level, std::uint8_t* codes) {
  constexpr float kShift = 12582912.0f;
  using Integers = Vector<int, kBytes>;
  using Bytes = Vector<std::uint8_t, kBytes / 4>;
  const Vector<float, kBytes> low = at<kBytes>(lowest), high = low + grid.top;
  const Vector<float, kBytes> raised = value > low ? value : low;
  level = ((raised < high ? raised : high) + kShift) - kShift;
  const Integers code = __builtin_convertvector(level - low, Integers) + grid.first_code;
  at<kBytes / 4>(codes) = __builtin_convertvector(code, Bytes);
}

template <std::size_t kBytes>
TERSOR_INLINE inline void round_vector(const SortedLevels& grid, const Vector<float, kBytes>& value, const float*,
                                       Vector<float, kBytes>& level, std::uint8_t* codes) {
  using Floats = Vector<float, kBytes>;
  using Integers = Vector<int, kBytes>;
  using Bytes = Vector<std::uint8_t, kBytes / 4>;
  if (grid.count <= kFewLevels) {
    level = Floats{} + grid.levels[0];
    Integers code = Integers{} + grid.codes[0];
    for (std::size_t i = 1; i < grid.count; ++i) {
      const Integers above = value > grid.boundaries[i - 1];
      level = above ? Floats{} + grid.levels[i] : level;
      code = above ? Integers{} + grid.codes[i] : code;
    }
    at<kBytes / 4>(codes) = __builtin_convertvector(code, Bytes);
    return;
  }
  for (std::size_t lane = 0; lane < kBytes / sizeof(float); ++lane) {
    std::size_t index = 0;
    for (std::size_t left = grid.count - 1; left > 0;) {
      const std::size_t half = (left + 1) / 2;
      index += value[lane] > grid.boundaries[index + half - 1] ? half : 0;
      left -= half;
    }
    level[lane] = grid.levels[index];
    codes[lane] = grid.codes[index];
  }
}

// As many vectors of a column as there are registers for on every machine.
constexpr std::size_t kColumnVectors = 4;

// sums += sign * (sum over k of shares[k] * values[k]), lane by lane.
template <std::size_t kBytes>
TERSOR_INLINE inline void add_shares(const float* shares, std::size_t count, float sign, const float* values,
                                     Vector<float, kBytes> (&sums)[kColumnVectors]) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  for (std::size_t k = 0; k < count; ++k) {
    const float share = sign * shares[k];
    for (std::size_t v = 0; v < kColumnVectors; ++v) {
      sums[v] += share * at<kBytes>(values + k * kStripRows + v * kLanes);
    }
  }
}

// The corrected weights of one strip, by forward substitution; all pointers are those of `first`.
template <std::size_t kBytes>
TERSOR_INLINE inline void correct(const GptqStrips& all, const float* original, const float* targets,
                                  std::size_t first, std::size_t count, float* corrected) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  for (std::size_t column = 0; column < count; ++column) {
    const float* shares = all.feedback + (first + column) * all.columns + first;
    for (std::size_t lane = 0; lane < kStripRows; lane += kColumnVectors * kLanes) {
      const std::size_t start = column * kStripRows + lane;
      Vector<float, kBytes> sums[kColumnVectors];
      for (std::size_t v = 0; v < kColumnVectors; ++v) {
        const std::size_t here = start + v * kLanes;
        sums[v] = at<kBytes>(targets + here) - at<kBytes>(original + here);
      }
      add_shares<kBytes>(shares, column, -1.0f, corrected + lane, sums);
      for (std::size_t v = 0; v < kColumnVectors; ++v) {
        at<kBytes>(corrected + start + v * kLanes) = sums[v];
      }
    }
  }
  for (std::size_t lane = 0; lane < count * kStripRows; ++lane) corrected[lane] += original[lane];
}

template <std::size_t kBytes, typename Grid>
TERSOR_INLINE inline void round_column(const GptqStrips& all, const Strip& strip, std::size_t known, std::size_t column,
                                       std::size_t step, const Grid& grid) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  const float* shares = all.feedback + column * all.columns + known;
  for (std::size_t lane = 0; lane < kStripRows; lane += kColumnVectors * kLanes) {
    const std::size_t start = column * kStripRows + lane;
    Vector<float, kBytes> sums[kColumnVectors], level;
    for (std::size_t v = 0; v < kColumnVectors; ++v) {
      sums[v] = at<kBytes>(strip.targets + start + v * kLanes);
    }
    add_shares<kBytes>(shares, column - known, 1.0f, strip.errors + known * kStripRows + lane, sums);
    for (std::size_t v = 0; v < kColumnVectors; ++v) {
      const std::size_t here = start + v * kLanes;
      const std::size_t parameter = step * kStripRows + lane + v * kLanes;
      const Vector<float, kBytes> scale = at<kBytes>(strip.scale + parameter);
      round_vector<kBytes>(grid, sums[v] / scale, strip.lowest + parameter, level,
                           strip.codes + here);
      at<kBytes>(strip.errors + here) = at<kBytes>(strip.original + here) - level * scale;
    }
  }
}

template <std::size_t kBytes, typename Grid>
TERSOR_INLINE inline void round_range(const GptqStrips& all, const GptqRange& range, const GptqScales& scales,
                                      const Grid& grid) {
  for (std::size_t t = 0; t < all.strips; ++t) {
    const Strip strip = strip_of(all, scales, t);
    for (std::size_t start = range.first; start < range.last; start += range.together) {
      const std::size_t stop = std::min(start + range.together, range.last);
      for (std::size_t column = start; column < stop; ++column) {
        const std::size_t step = scales.steps == 1 ? 0 : column - range.first;
        round_column<kBytes>(all, strip, start, column, step, grid);
      }
      // The next ones catch up with everything in this range that is rounded by now.
      feed<kBytes>(all, strip.targets, strip.errors, range.first, stop,
                   std::min(stop + range.together, range.last));
    }
  }
}

}  // namespace

void gptq_feed(const GptqStrips& all, std::size_t first, std::size_t last, float* corrected) {
  with_vectors([&](auto width) TERSOR_INLINE {
    for (std::size_t strip = 0; strip < all.strips; ++strip) {
      const std::size_t start = strip * all.columns * kStripRows;
      const std::size_t from = start + first * kStripRows;
      feed<width>(all, all.targets + start, all.errors + start, 0, first, last);
      correct<width>(all, all.original + from, all.targets + from, first, last - first,
                     corrected + strip * (last - first) * kStripRows);
    }
  });
}

void gptq_integers(const GptqStrips& all, const GptqRange& range, const GptqScales& scales,
                   const IntegerLevels& grid) {
  with_vectors([&](auto width) TERSOR_INLINE {
    round_range<width>(all, range, scales, grid);
  });
}

void gptq_levels(const GptqStrips& all, const GptqRange& range, const GptqScales& scales,
                 const SortedLevels& grid) {
  with_vectors([&](auto width) TERSOR_INLINE {
    round_range<width>(all, range, scales, grid);
  });
}

}  // namespace tersor

#include "quantizing/gptq.hpp"

#include <algorithm>

#include "vectors/any_width.hpp"

namespace tersor {
namespace {

// Above this many levels a search by halves is faster than comparing with every boundary at once.
constexpr std::size_t kFewLevels = 32;

// One tile of a panel.
struct Tile {
  const float* original;
  float* targets;
  float* errors;
  std::uint8_t* codes;
  const float* scale;
  const float* lowest;
};

TERSOR_INLINE inline Tile tile_of(const GptqPanel& panel, const GptqScales& scales, std::size_t tile) {
  const std::size_t start = tile * panel.columns * kTileRows;
  const std::size_t parameters = tile * scales.steps * kTileRows;
  return {panel.original + start, panel.targets + start,       panel.errors + start,
          panel.codes + start,    scales.scale + parameters, scales.lowest + parameters};
}

// targets[first..last] += shares of the errors from `known` up to `first`.
template <std::size_t kBytes>
TERSOR_INLINE inline void feed(const GptqPanel& panel, float* targets, const float* errors, std::size_t known,
                               std::size_t first, std::size_t last) {
  add_products<kBytes, kTileRows, float>(
      {panel.feedback + first * panel.columns + known, panel.columns},
      {errors + known * kTileRows, kTileRows}, first - known,
      {targets + first * kTileRows, kTileRows}, last - first);
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
constexpr std::size_t kVectors = 4;

// sums += sign * (sum over k of shares[k] * values[k]), lane by lane.
template <std::size_t kBytes>
TERSOR_INLINE inline void add_shares(const float* shares, std::size_t count, float sign, const float* values,
                                     Vector<float, kBytes> (&sums)[kVectors]) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  for (std::size_t k = 0; k < count; ++k) {
    const float share = sign * shares[k];
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[v] += share * at<kBytes>(values + k * kTileRows + v * kLanes);
    }
  }
}

// The corrected weights of one tile, by forward substitution; all pointers are those of `first`.
template <std::size_t kBytes>
TERSOR_INLINE inline void correct(const GptqPanel& panel, const float* original, const float* targets,
                                  std::size_t first, std::size_t count, float* corrected) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  for (std::size_t column = 0; column < count; ++column) {
    const float* shares = panel.feedback + (first + column) * panel.columns + first;
    for (std::size_t lane = 0; lane < kTileRows; lane += kVectors * kLanes) {
      const std::size_t start = column * kTileRows + lane;
      Vector<float, kBytes> sums[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t here = start + v * kLanes;
        sums[v] = at<kBytes>(targets + here) - at<kBytes>(original + here);
      }
      add_shares<kBytes>(shares, column, -1.0f, corrected + lane, sums);
      for (std::size_t v = 0; v < kVectors; ++v) {
        at<kBytes>(corrected + start + v * kLanes) = sums[v];
      }
    }
  }
  for (std::size_t lane = 0; lane < count * kTileRows; ++lane) corrected[lane] += original[lane];
}

template <std::size_t kBytes, typename Grid>
TERSOR_INLINE inline void round_column(const GptqPanel& panel, const Tile& tile, std::size_t known, std::size_t column,
                                       std::size_t step, const Grid& grid) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  const float* shares = panel.feedback + column * panel.columns + known;
  for (std::size_t lane = 0; lane < kTileRows; lane += kVectors * kLanes) {
    const std::size_t start = column * kTileRows + lane;
    Vector<float, kBytes> sums[kVectors], level;
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[v] = at<kBytes>(tile.targets + start + v * kLanes);
    }
    add_shares<kBytes>(shares, column - known, 1.0f, tile.errors + known * kTileRows + lane, sums);
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t here = start + v * kLanes;
      const std::size_t parameter = step * kTileRows + lane + v * kLanes;
      const Vector<float, kBytes> scale = at<kBytes>(tile.scale + parameter);
      round_vector<kBytes>(grid, sums[v] / scale, tile.lowest + parameter, level,
                           tile.codes + here);
      at<kBytes>(tile.errors + here) = at<kBytes>(tile.original + here) - level * scale;
    }
  }
}

template <std::size_t kBytes, typename Grid>
TERSOR_INLINE inline void round_range(const GptqPanel& panel, const GptqRange& range, const GptqScales& scales,
                                      const Grid& grid) {
  for (std::size_t t = 0; t < panel.tiles; ++t) {
    const Tile tile = tile_of(panel, scales, t);
    for (std::size_t start = range.first; start < range.last; start += range.block) {
      const std::size_t stop = std::min(start + range.block, range.last);
      for (std::size_t column = start; column < stop; ++column) {
        const std::size_t step = scales.steps == 1 ? 0 : column - range.first;
        round_column<kBytes>(panel, tile, start, column, step, grid);
      }
      // The next block catches up with everything in this range that is rounded by now.
      feed<kBytes>(panel, tile.targets, tile.errors, range.first, stop,
                   std::min(stop + range.block, range.last));
    }
  }
}

}  // namespace

void gptq_feed(const GptqPanel& panel, std::size_t first, std::size_t last, float* corrected) {
  with_vectors([&](auto width) TERSOR_INLINE {
    for (std::size_t tile = 0; tile < panel.tiles; ++tile) {
      const std::size_t start = tile * panel.columns * kTileRows;
      const std::size_t from = start + first * kTileRows;
      feed<width>(panel, panel.targets + start, panel.errors + start, 0, first, last);
      correct<width>(panel, panel.original + from, panel.targets + from, first, last - first,
                     corrected + tile * (last - first) * kTileRows);
    }
  });
}

void gptq_integers(const GptqPanel& panel, const GptqRange& range, const GptqScales& scales,
                   const IntegerLevels& grid) {
  with_vectors([&](auto width) TERSOR_INLINE {
    round_range<width>(panel, range, scales, grid);
  });
}

void gptq_levels(const GptqPanel& panel, const GptqRange& range, const GptqScales& scales,
                 const SortedLevels& grid) {
  with_vectors([&](auto width) TERSOR_INLINE {
    round_range<width>(panel, range, scales, grid);
  });
}

}  // namespace tersor

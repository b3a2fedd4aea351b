#include "measuring/error_sums.hpp"

#include <algorithm>
#include <cmath>

#include "threads/parallel.hpp"

namespace tersor {
namespace {

constexpr std::size_t kLanes = 16;
// Few enough additions per lane that float32 sums keep about six digits.
constexpr std::size_t kRun = 64 * kLanes;

struct Lanes {
  float rounding[kLanes] = {}, clipping[kLanes] = {}, zero_point[kLanes] = {};
  float signal[kLanes] = {}, largest[kLanes] = {};
};

struct Ends {
  float low, high, grid_low, grid_high;
};

inline void add(Lanes& lanes, std::size_t lane, float original, float decoded, const Ends& ends) {
  const float in_range = std::min(std::max(original, ends.low), ends.high);
  const float in_grid = std::min(std::max(in_range, ends.grid_low), ends.grid_high);
  const float error = original - decoded;
  lanes.rounding[lane] += error * (in_grid - decoded);
  lanes.clipping[lane] += error * (original - in_range);
  lanes.zero_point[lane] += error * (in_range - in_grid);
  lanes.signal[lane] += original * original;
  lanes.largest[lane] = std::max(lanes.largest[lane], std::fabs(error));
}

void add_run(const float* original, const float* decoded, std::size_t count, const Ends& ends,
             double* sums) {
  Lanes lanes;
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      add(lanes, lane, original[i + lane], decoded[i + lane], ends);
    }
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) {
    add(lanes, lane, original[i], decoded[i], ends);
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sums[0] += lanes.rounding[lane];
    sums[1] += lanes.clipping[lane];
    sums[2] += lanes.zero_point[lane];
    sums[3] += lanes.signal[lane];
    sums[4] = std::max(sums[4], static_cast<double>(lanes.largest[lane]));
  }
}

void row_sums(const ErrorBlocks& blocks, std::size_t row, double* sums) {
  std::fill(sums, sums + kErrorSums, 0.0);
  for (std::size_t group = 0; group < blocks.groups; ++group) {
    const std::size_t block = row * blocks.groups + group;
    const Ends ends = {blocks.low[block], blocks.high[block], blocks.grid_low[block],
                       blocks.grid_high[block]};
    const float* original = blocks.original + row * blocks.original_stride + group * blocks.size;
    const float* decoded = blocks.decoded + row * blocks.decoded_stride + group * blocks.size;
    for (std::size_t start = 0; start < blocks.size; start += kRun) {
      const std::size_t count = std::min(kRun, blocks.size - start);
      add_run(original + start, decoded + start, count, ends, sums);
    }
  }
}

}  // namespace

void error_sums(const ErrorBlocks& blocks, double* sums) {
  parallel_for(blocks.rows, blocks.groups * blocks.size, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      row_sums(blocks, row, sums + row * kErrorSums);
    }
  });
}

}  // namespace tersor

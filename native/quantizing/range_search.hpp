// The step of a range search that loses least on each block; see tersor/ranges/mse.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor {

// (rows, groups, size), where only the values of a block need to be contiguous: importance that is
// the same for all rows has a row stride of 0.
struct Blocks {
  const float* data;
  std::int64_t row_stride, group_stride;
  const float* block(std::size_t row, std::size_t group) const {
    return data + static_cast<std::int64_t>(row) * row_stride +
           static_cast<std::int64_t>(group) * group_stride;
  }
};

// What is lost with a scale is the sum of importance * |value - level * scale|^norm; levels are
// lowest, lowest + 1, ... lowest + top.
struct RangeSearch {
  Blocks values, importance;
  std::size_t rows, groups, size;
  const float* scale;   // (rows, groups, steps)
  const float* lowest;  // (rows, groups, steps), integers; or a single one, for all
  std::size_t steps;
  bool one_lowest;
  float top;
  float norm;
};

// best (rows, groups): the first step with the smallest loss; 0 if every loss is NaN or infinite.
void range_search(const RangeSearch& search, std::int64_t* best);

}  // namespace tersor

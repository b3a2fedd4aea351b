// The line through the weights of each block that loses least; see tersor/ranges/_lines.py.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quantizing/range_search.hpp"

namespace tersor {

// What a line s * code + m loses is the sum of importance * (value - m - s * code)^2, with the
// nearest code of lowest ... highest for each value. Each start leads to a line, which is fitted to
// its codes again for some rounds; without minima m is 0. `negative`: minima are not above 0.
struct LineStarts {
  Blocks values, importance;
  std::size_t rows, groups, size;
  const float* scale;    // (rows, groups, starts), none of them 0
  const float* minimum;  // (rows, groups, starts)
  std::size_t starts, rounds;
  float lowest, highest;
  bool has_minima, negative;
};

// Each (rows, groups); `start`: the first one that leads to the smallest loss. Where every loss is
// NaN or infinite, that is the first start itself.
struct BestLines {
  float* scale;
  float* minimum;
  float* loss;
  std::int64_t* start;
};

void best_lines(const LineStarts& given, const BestLines& best);

}  // namespace tersor

// Sums of the parts of a quantization error; see tersor/grids/error.py for their meaning.
#pragma once

#include <cstddef>

namespace tersor {

// Blocks of values that share a scale, and the ends of their range and of their grid.
struct ErrorBlocks {
  const float* original;   // (rows, groups * size), rows `original_stride` apart
  const float* decoded;    // the same shape, rows `decoded_stride` apart
  const float* low;        // (rows, groups)
  const float* high;
  const float* grid_low;
  const float* grid_high;
  std::size_t rows, groups, size;
  std::size_t original_stride, decoded_stride;
};

// Per row: sums of e*rounding, e*clipping, e*zero_point, original^2, and the largest |e|.
constexpr std::size_t kErrorSums = 5;

void error_sums(const ErrorBlocks& blocks, double* sums);  // sums: (rows, kErrorSums)

}  // namespace tersor

// Sums of products x y^T over tokens; see tersor/calibration/statistics/hessian.py.
//
// Rows of the result are split into parts, so that threads share the work without partial sums: the
// sum of an element runs over the tokens in order, and its bits do not depend on the parts. They do
// depend on the instruction set: products are fused with their sums where the processor can.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor {

// Part number `index` of `count`; all parts take about the same time.
struct Part {
  std::size_t index, count;
};

// total (width, width) += X^T X, on and right of the diagonal, for x (tokens, width). What is left
// of the diagonal may change too, and is not to be used.
//
// T is float or, for bfloat16, std::uint16_t. Products of bfloat16 are exact; where the processor
// multiplies them itself, subnormal numbers count as zero.
template <typename T>
void add_second_moment(const T* x, std::size_t tokens, std::size_t width, float* total, Part part);

// total (left_width, right_width) += X^T Y for left (tokens, left_width) and right likewise.
template <typename T>
void add_cross_moment(const T* left, const T* right, std::size_t tokens, std::size_t left_width,
                      std::size_t right_width, float* total, Part part);

}  // namespace tersor

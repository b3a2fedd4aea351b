// The innermost loops of the moments: a tile of the result, for one run of tokens.
//
// Matrices come packed in strips of kMomentColumns columns: (words, kMomentColumns). A word holds a
// number of one token, or the bfloat16 numbers of two tokens, the earlier one in the lower half.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor {

constexpr std::size_t kMomentColumns = 48;
constexpr std::size_t kMomentRows = 8;  // a band of the result: so many columns of a left strip

// target[r][c] += sum over k of left[k][r] * right[k][c] for kMomentRows rows, `stride` apart, and
// kMomentColumns columns; rows of left and right are kMomentColumns apart.
template <typename Word>
using MomentKernel = void (*)(const Word* left, const Word* right, std::size_t count, float* target,
                              std::size_t stride);

MomentKernel<float> float_kernel();
MomentKernel<std::uint32_t> pair_kernel();  // nullptr if the processor has no such instruction

}  // namespace tersor

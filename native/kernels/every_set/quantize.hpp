// Quantizing of tokens, compiled anew for every level: nothing in here may be shared between files that
// are compiled for different instruction sets.
#pragma once

#include "kernels/packed_weights.hpp"
#include "vectors/sixteen_lanes.hpp"

namespace tersor {
namespace {

// Stores the first `count` codes; returns them, and 0 for others.
TERSOR_INLINE inline Ints put_codes(std::int8_t* to, Ints codes, std::size_t count) {
  const Bytes narrow = bytes_of(codes);
  if (count >= kLanes) {
    put(to, narrow);
    return codes;
  }
  __builtin_memcpy(to, &narrow, count);
  const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return TERSOR_CHOOSE(lane < static_cast<std::int32_t>(count), codes, Ints{});
}

// A product and a sum, not fused: every level finds the same codes.
__attribute__((optimize("fp-contract=off"))) void quantize_group(const float* x, std::size_t size, std::int8_t* codes,
                                                                 float* scale, std::int32_t* sum) {
  const float top = largest_magnitude(x, size);
  *scale = top / 127.0f;
  const float inverse = top > 0.0f && top < __builtin_inff() ? 127.0f / top : 0.0f;
  Ints total = {};
  std::size_t k = 0;
  // Of finite numbers no code is outside.
  for (; top < __builtin_inff() && inverse < __builtin_inff() && k + kLanes <= size; k += kLanes) {
    const Ints code = bits_of_rounded(loaded<Floats>(x + k) * inverse);
    total += code - kRoundingBits;
    put(codes + k, bytes_of(code));
  }
  for (; k < size; k += kLanes) {
    const Floats level = (loaded_some(x + k, size - k) * inverse + kRounding) - kRounding;
    const Ints inside = (level >= -127.0f) & (level <= 127.0f);
    const Ints code = ints_of(TERSOR_CHOOSE(inside, level, Floats{}));
    total += put_codes(codes + k, code, size - k);
  }
  *sum = sum_of(total);
}

void quantize_fixed(const float* x, std::size_t size, const FixedInput& fixed,
                           std::int8_t* codes, float* scale, std::int32_t* sum) {
  const float top = largest_magnitude(x, size);
  *scale = top < __builtin_inff() ? fixed.scale : __builtin_nanf("");
  Ints total = {};
  for (std::size_t k = 0; k < size; k += kLanes) {
    Floats level = loaded_some(x + k, size - k) / fixed.scale;
    // Beyond this every code is the last, and an integer would overflow; so would NaN.
    level = TERSOR_CHOOSE(level > -1000.0f, level, all(-1000.0f));
    level = TERSOR_CHOOSE(level < 1000.0f, level, all(1000.0f));
    level = (level + kRounding) - kRounding;
    Ints code = ints_of(level) + fixed.zero;
    code = TERSOR_CHOOSE(code > fixed.lowest, code, Ints{} + fixed.lowest);
    code = TERSOR_CHOOSE(code < 127, code, Ints{} + 127);
    total += put_codes(codes + k, code, size - k);
  }
  *sum = sum_of(total);
}

void quantize_tokens(const float* x, std::size_t stride, std::size_t tokens,
                            std::size_t columns, std::size_t group, const FixedInput& fixed,
                            const TokenCodes& to) {
  const std::size_t groups = (columns + group - 1) / group;
  const std::size_t whole = chunks_of(group) * kChunk;
  const std::size_t last = columns - (groups - 1) * group;
  const std::size_t width = (groups - 1) * whole + chunks_of(last) * kChunk;
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t size = g + 1 < groups ? group : last;
      std::int8_t* codes = to.codes + token * width + g * whole;
      const float* const from = x + token * stride + g * group;
      float* const scale = to.scales + token * groups + g;
      std::int32_t* const sum = to.sums + token * groups + g;
      if (fixed.scale > 0.0f) {
        quantize_fixed(from, size, fixed, codes, scale, sum);
      } else {
        quantize_group(from, size, codes, scale, sum);
      }
      for (std::size_t k = size; k < chunks_of(size) * kChunk; ++k) codes[k] = 0;
    }
  }
}

}  // namespace
}  // namespace tersor

// Quantizing of tokens, compiled anew for every level: nothing in here may be shared between files that
// are compiled for different instruction sets.

static void quantize_group(const float* x, std::size_t size, std::int8_t* codes, float* scale,
                           std::int32_t* sum) {
  // Compared as integers, because a NaN must come out as the largest.
  std::uint32_t largest = 0;
  for (std::size_t k = 0; k < size; ++k) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, x + k, sizeof bits);
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  float top;
  __builtin_memcpy(&top, &largest, sizeof top);
  *scale = top / 127.0f;
  const float inverse = top > 0.0f && top < __builtin_inff() ? 127.0f / top : 0.0f;
  std::int32_t total = 0;
  for (std::size_t k = 0; k < size; ++k) {
    constexpr float kShift = 12582912.0f;  // adding it rounds to an integer, ties to even
    const float level = (x[k] * inverse + kShift) - kShift;
    const std::int32_t code = level >= -127.0f && level <= 127.0f ? static_cast<std::int32_t>(level) : 0;
    codes[k] = static_cast<std::int8_t>(code);
    total += code;
  }
  *sum = total;
}

static void quantize_tokens(const float* x, std::size_t stride, std::size_t tokens,
                            std::size_t columns, std::size_t group, const TokenCodes& to) {
  const std::size_t groups = (columns + group - 1) / group;
  const std::size_t whole = chunks_of(group) * kChunk;
  const std::size_t last = columns - (groups - 1) * group;
  const std::size_t width = (groups - 1) * whole + chunks_of(last) * kChunk;
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t size = g + 1 < groups ? group : last;
      std::int8_t* codes = to.codes + token * width + g * whole;
      quantize_group(x + token * stride + g * group, size, codes, to.scales + token * groups + g,
                     to.sums + token * groups + g);
      for (std::size_t k = size; k < chunks_of(size) * kChunk; ++k) codes[k] = 0;
    }
  }
}

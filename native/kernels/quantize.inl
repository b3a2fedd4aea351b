// Quantizing of tokens, compiled anew for every level: nothing in here may be shared between files that
// are compiled for different instruction sets.

// A product and a sum, not fused: every level finds the same codes.
__attribute__((optimize("fp-contract=off"))) static void quantize_group(const float* x, std::size_t size, std::int8_t* codes, float* scale,
                           std::int32_t* sum) {
  const float top = largest_magnitude(x, size);
  *scale = top / 127.0f;
  const float inverse = top > 0.0f && top < __builtin_inff() ? 127.0f / top : 0.0f;
  Ints total = {};
  for (std::size_t k = 0; k < size; k += kLanes) {
    const Floats shift = all(12582912.0f);  // adding it rounds to an integer, ties to even
    const Floats level = (loaded_some(x + k, size - k) * inverse + shift) - shift;
    const Ints inside = (level >= -127.0f) & (level <= 127.0f);
    const Ints code = __builtin_convertvector(inside ? level : Floats{}, Ints);
    total += code;
    const Bytes narrow = __builtin_convertvector(code, Bytes);
    if (size - k >= kLanes) {
      put(codes + k, narrow);
    } else {
      __builtin_memcpy(codes + k, &narrow, size - k);
    }
  }
  *sum = sum_of(total);
}

static void quantize_fixed(const float* x, std::size_t size, const FixedInput& fixed,
                           std::int8_t* codes, float* scale, std::int32_t* sum) {
  const float top = largest_magnitude(x, size);
  *scale = top < __builtin_inff() ? fixed.scale : __builtin_nanf("");
  std::int32_t total = 0;
  for (std::size_t k = 0; k < size; ++k) {
    // Beyond this every code is the last, and an integer would overflow.
    const float level = x[k] / fixed.scale, inside = level > 1000.0f ? 1000.0f : level;
    const float rounded = __builtin_rintf(inside > -1000.0f ? inside : -1000.0f);
    const std::int32_t code = static_cast<std::int32_t>(rounded) + fixed.zero;
    const std::int32_t low = code > fixed.lowest ? code : fixed.lowest, kept = low < 127 ? low : 127;
    codes[k] = static_cast<std::int8_t>(kept);
    total += kept;
  }
  *sum = total;
}

static void quantize_tokens(const float* x, std::size_t stride, std::size_t tokens,
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

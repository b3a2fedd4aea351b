// float16 and back, and int8 to float; compiled anew for every level.
#pragma once

#include "vectors/sixteen_lanes.hpp"

namespace tersor {
namespace {

#if defined(__AVX512F__)

TERSOR_INLINE inline Floats from_float16(Halves bits) {
  return same_bits<Floats>(_mm512_maskz_cvtph_ps(0xffff, same_bits<__m256i>(bits)));
}

TERSOR_INLINE inline Halves to_float16(Floats values) {
  return same_bits<Halves>(
      _mm512_maskz_cvtps_ph(0xffff, same_bits<__m512>(values), _MM_FROUND_TO_NEAREST_INT));
}

TERSOR_INLINE inline Floats from_int8(Bytes codes) {
  const __m512i wide = _mm512_maskz_cvtepi8_epi32(0xffff, same_bits<__m128i>(codes));
  return same_bits<Floats>(_mm512_maskz_cvtepi32_ps(0xffff, wide));
}

#elif defined(__F16C__)

TERSOR_INLINE inline Floats from_int8(Bytes codes) {
  __m128i lanes;
  put(&lanes, codes);
  const __m256 halves[2] = {
      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(lanes)),
      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(lanes, 8)))};
  return loaded<Floats>(halves);
}

TERSOR_INLINE inline Floats from_float16(Halves bits) {
  __m128i parts[2];
  put(parts, bits);
  const __m256 floats[2] = {_mm256_cvtph_ps(parts[0]), _mm256_cvtph_ps(parts[1])};
  return loaded<Floats>(floats);
}

TERSOR_INLINE inline Halves to_float16(Floats values) {
  __m256 parts[2];
  put(parts, values);
  const __m128i halves[2] = {_mm256_cvtps_ph(parts[0], _MM_FROUND_TO_NEAREST_INT),
                             _mm256_cvtps_ph(parts[1], _MM_FROUND_TO_NEAREST_INT)};
  return loaded<Halves>(halves);
}

#elif defined(TERSOR_NEON)

TERSOR_INLINE inline Floats from_int8(Bytes codes) { return floats_of(codes); }

TERSOR_INLINE inline Floats from_float16(const Halves& bits) {
  Floats floats;
  for (std::size_t i = 0; i < 2; ++i) {
    const float16x8_t halves = vreinterpretq_f16_u16(bits.parts[i]);
    floats.parts[2 * i] = vcvt_f32_f16(vget_low_f16(halves));
    floats.parts[2 * i + 1] = vcvt_high_f32_f16(halves);
  }
  return floats;
}

TERSOR_INLINE inline Halves to_float16(const Floats& values) {
  Halves halves;
  for (std::size_t i = 0; i < 2; ++i) {
    const float16x4_t low = vcvt_f16_f32(values.parts[2 * i]);
    halves.parts[i] = vreinterpretq_u16_f16(vcvt_high_f16_f32(low, values.parts[2 * i + 1]));
  }
  return halves;
}

#else

TERSOR_INLINE inline Floats from_int8(Bytes codes) { return floats_of(codes); }

TERSOR_INLINE inline Floats from_float16(Halves bits) {
  const Words words = words_of(bits);
  const Words sign = (words & 0x8000) << 16, shifted = (words & 0x7fff) << 13;
  const Floats scaled = same_bits<Floats>(shifted) * 5.192296858534828e33f;  // 2^112
  const Words special = TERSOR_CHOOSE((words & 0x7c00) == 0x7c00, Words{} + 0x7f800000, Words{});
  const Words whole = same_bits<Words>(scaled) | special | sign;
  return same_bits<Floats>(whole);
}

TERSOR_INLINE inline std::uint16_t one_to_float16(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  std::uint32_t code;
  if (size > 0x7f800000) {
    code = 0x7e00;
  } else if (size >= 0x477ff000) {  // rounds to more than 65504
    code = 0x7c00;
  } else if (size >= 0x38800000) {  // a normal float16
    code = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
  } else {
    float small;
    __builtin_memcpy(&small, &size, sizeof small);
    const float shifted = small * 16777216.0f + 8388608.0f;  // rounds to an integer, ties to even
    __builtin_memcpy(&code, &shifted, sizeof code);
    code -= 0x4b000000;
  }
  return static_cast<std::uint16_t>(sign | code);
}

TERSOR_INLINE inline Halves to_float16(Floats values) {
  std::uint16_t halves[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) halves[i] = one_to_float16(values[i]);
  return loaded<Halves>(halves);
}

#endif

}  // namespace
}  // namespace tersor

// Vectors of 16 lanes as four of NEON's: of vectors wider than its registers GCC makes single lanes.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "vectors/inlining.hpp"

namespace tersor {
namespace {

template <typename Lane, typename Part>
struct Sixteen {
  typedef Part Quarter;
  Part parts[4];

  Sixteen() = default;

  TERSOR_INLINE Sixteen(Lane value) {
    for (Part& part : parts) part = Part{value, value, value, value};
  }

  template <typename... Lanes>
    requires(sizeof...(Lanes) == 15)
  TERSOR_INLINE Sixteen(Lane first, Lanes... others) {
    const Lane lanes[16] = {first, static_cast<Lane>(others)...};
    for (std::size_t i = 0; i < 4; ++i) __builtin_memcpy(&parts[i], lanes + 4 * i, sizeof(Part));
  }

  TERSOR_INLINE Lane operator[](std::size_t lane) const { return parts[lane / 4][lane % 4]; }

#define TERSOR_BINARY(op)                                                                       \
  TERSOR_INLINE friend Sixteen operator op(const Sixteen& a, const Sixteen& b) {             \
    Sixteen result;                                                                             \
    for (std::size_t i = 0; i < 4; ++i) result.parts[i] = a.parts[i] op b.parts[i];             \
    return result;                                                                              \
  }                                                                                             \
  TERSOR_INLINE Sixteen& operator op##=(const Sixteen& other) { return *this = *this op other; }
  TERSOR_BINARY(+)
  TERSOR_BINARY(-)
  TERSOR_BINARY(*)
  TERSOR_BINARY(/)
  TERSOR_BINARY(&)
  TERSOR_BINARY(|)
  TERSOR_BINARY(<<)
  TERSOR_BINARY(>>)
#undef TERSOR_BINARY

  TERSOR_INLINE friend Sixteen operator-(const Sixteen& a) {
    Sixteen result;
    for (std::size_t i = 0; i < 4; ++i) result.parts[i] = -a.parts[i];
    return result;
  }

  // All bits of a lane where it holds.
#define TERSOR_COMPARISON(op)                                                                     \
  TERSOR_INLINE friend Sixteen<std::int32_t, int32x4_t> operator op(const Sixteen& a,          \
                                                                       const Sixteen& b) {        \
    Sixteen<std::int32_t, int32x4_t> result;                                                      \
    for (std::size_t i = 0; i < 4; ++i) result.parts[i] = (int32x4_t)(a.parts[i] op b.parts[i]);  \
    return result;                                                                                \
  }
  TERSOR_COMPARISON(<)
  TERSOR_COMPARISON(>)
  TERSOR_COMPARISON(<=)
  TERSOR_COMPARISON(>=)
  TERSOR_COMPARISON(==)
  TERSOR_COMPARISON(!=)
#undef TERSOR_COMPARISON
};

typedef Sixteen<float, float32x4_t> Floats;
typedef Sixteen<std::int32_t, int32x4_t> Ints;
typedef Sixteen<std::uint32_t, uint32x4_t> Words;
typedef int8x16_t Bytes;
typedef uint8x16_t UnsignedBytes;
struct Halves {
  uint16x8_t parts[2];
};

// See sixteen_lanes.hpp; more would not stay in registers.
constexpr std::size_t kSumsTogether = 1;

template <typename Vector, typename T>
TERSOR_INLINE inline Vector loaded(const T* from) {
  Vector vector;
  const char* const bytes = reinterpret_cast<const char*>(from);
  if constexpr (sizeof vector > 16) {
    std::size_t at = 0;
    for (auto& part : vector.parts) {
      __builtin_memcpy(&part, bytes + at, sizeof part);
      at += sizeof part;
    }
  } else {
    __builtin_memcpy(&vector, bytes, sizeof vector);
  }
  return vector;
}

template <typename Vector, typename T>
TERSOR_INLINE inline void put(T* to, Vector vector) {
  char* const bytes = reinterpret_cast<char*>(to);
  if constexpr (sizeof vector > 16) {
    std::size_t at = 0;
    for (const auto& part : vector.parts) {
      __builtin_memcpy(bytes + at, &part, sizeof part);
      at += sizeof part;
    }
  } else {
    __builtin_memcpy(bytes, &vector, sizeof vector);
  }
}

// A vector whose halves are the same.
template <typename Vector, typename T>
TERSOR_INLINE inline Vector twice(const T* from) {
  Vector vector;
  __builtin_memcpy(&vector.parts[0], from, 16);
  __builtin_memcpy(&vector.parts[1], reinterpret_cast<const char*>(from) + 16, 16);
  vector.parts[2] = vector.parts[0];
  vector.parts[3] = vector.parts[1];
  return vector;
}

template <typename To, typename Lane, typename Part>
TERSOR_INLINE inline To same_bits(const Sixteen<Lane, Part>& from) {
  To to;
  for (std::size_t i = 0; i < 4; ++i) to.parts[i] = (typename To::Quarter)from.parts[i];
  return to;
}

template <typename Where, typename Part>
TERSOR_INLINE inline Part bits_chosen(Where where, Part a, Part b) {
  return (Part)vbslq_u32((uint32x4_t)where, (uint32x4_t)a, (uint32x4_t)b);
}

template <typename Vector>
TERSOR_INLINE inline Vector chosen(const Ints& where, const Vector& a, const Vector& b) {
  Vector result;
  for (std::size_t i = 0; i < 4; ++i) {
    result.parts[i] = bits_chosen(where.parts[i], a.parts[i], b.parts[i]);
  }
  return result;
}

#define TERSOR_KEEP(vector) static_cast<void>(vector)

#define TERSOR_CHOOSE(where, a, b) chosen(where, a, b)

TERSOR_INLINE inline Floats floats_of(const Ints& values) {
  Floats result;
  for (std::size_t i = 0; i < 4; ++i) result.parts[i] = vcvtq_f32_s32(values.parts[i]);
  return result;
}

TERSOR_INLINE inline Floats floats_of(Bytes values) {
  const int16x8_t low = vmovl_s8(vget_low_s8(values)), high = vmovl_high_s8(values);
  Ints wide;
  wide.parts[0] = vmovl_s16(vget_low_s16(low));
  wide.parts[1] = vmovl_high_s16(low);
  wide.parts[2] = vmovl_s16(vget_low_s16(high));
  wide.parts[3] = vmovl_high_s16(high);
  return floats_of(wide);
}

TERSOR_INLINE inline Words words_of(const Halves& values) {
  Words result;
  for (std::size_t i = 0; i < 2; ++i) {
    result.parts[2 * i] = vmovl_u16(vget_low_u16(values.parts[i]));
    result.parts[2 * i + 1] = vmovl_high_u16(values.parts[i]);
  }
  return result;
}

TERSOR_INLINE inline Floats floats_of(UnsignedBytes values) {
  const Halves halves = {{vmovl_u8(vget_low_u8(values)), vmovl_high_u8(values)}};
  return floats_of(same_bits<Ints>(words_of(halves)));
}

TERSOR_INLINE inline Ints ints_of(const Floats& values) {
  Ints result;
  for (std::size_t i = 0; i < 4; ++i) result.parts[i] = vcvtq_s32_f32(values.parts[i]);
  return result;
}

TERSOR_INLINE inline Halves halves_of(const Ints& values) {
  Halves halves;
  for (std::size_t i = 0; i < 2; ++i) {
    const int16x4_t low = vmovn_s32(values.parts[2 * i]);
    halves.parts[i] = vreinterpretq_u16_s16(vmovn_high_s32(low, values.parts[2 * i + 1]));
  }
  return halves;
}

TERSOR_INLINE inline Bytes bytes_of(const Ints& values) {
  const int16x8_t low = vmovn_high_s32(vmovn_s32(values.parts[0]), values.parts[1]);
  const int16x8_t high = vmovn_high_s32(vmovn_s32(values.parts[2]), values.parts[3]);
  return vmovn_high_s16(vmovn_s16(low), high);
}

// Lanes are added in the order of sixteen_lanes.hpp.
template <typename Lane, typename Part>
TERSOR_INLINE inline Lane sum_of(const Sixteen<Lane, Part>& vector) {
  const Part part = (vector.parts[0] + vector.parts[2]) + (vector.parts[1] + vector.parts[3]);
  return (part[0] + part[2]) + (part[1] + part[3]);
}

template <typename Lane, typename Part>
TERSOR_INLINE inline Lane largest_of(const Sixteen<Lane, Part>& vector) {
  Part part = vector.parts[0];
  for (std::size_t i = 1; i < 4; ++i) part = bits_chosen(vector.parts[i] > part, vector.parts[i], part);
  Lane largest = part[0];
  for (std::size_t i = 1; i < 4; ++i) largest = part[i] > largest ? part[i] : largest;
  return largest;
}

// table[index], lane by lane.
TERSOR_INLINE inline Floats looked_up(const Floats& table, const Ints& index) {
  uint8x16x4_t bytes;
  for (std::size_t i = 0; i < 4; ++i) bytes.val[i] = vreinterpretq_u8_f32(table.parts[i]);
  Floats result;
  for (std::size_t i = 0; i < 4; ++i) {
    const uint32x4_t first = vmulq_n_u32(vreinterpretq_u32_s32(index.parts[i]), 0x04040404);
    const uint8x16_t places = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)));
    result.parts[i] = vreinterpretq_f32_u8(vqtbl4q_u8(bytes, places));
  }
  return result;
}

}  // namespace
}  // namespace tersor

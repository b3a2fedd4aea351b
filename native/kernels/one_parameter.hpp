// The parameter of one row and group, for code that is in no hurry.
#pragma once

#include "kernels/group_parameters.hpp"

namespace tersor {
namespace {

inline float float_of_bits(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline float from_half(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
  if (size >= 0x7c00) return float_of_bits(sign | 0x7f800000u | (size & 0x3ffu) << 13);
  const float scaled = float_of_bits(size << 13) * 5.192296858534828e33f;  // 2^112
  return sign != 0 ? -scaled : scaled;
}

// The number at an index of (panels, groups, kPanelRows).
inline float number_at(const GroupParameters& of, std::size_t index) {
  if (of.wide != nullptr) return of.wide[index];
  if (of.narrow != nullptr) return float_of_bits(static_cast<std::uint32_t>(of.narrow[index]) << 16);
  if (of.steps == nullptr) return from_half(of.half[index]);
  return from_half(of.half[of.shared(index) + index % kPanelRows]) * static_cast<float>(of.steps[index]);
}

}  // namespace
}  // namespace tersor

// Numbers of groups: scales, and minima, which are added to all weights of a group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codes.hpp"

namespace tersor {

// A number for every group of every row, (panels, groups, kPanelRows), in one of three types. With `steps` a float16
// number is that of a super-block's groups, and a step says how many times it is the group's: an exact product, since
// float32 has room for 11 + 8 bits.
struct GroupParameters {
  const float* wide = nullptr;
  const std::uint16_t* narrow = nullptr;  // bfloat16
  const std::uint16_t* half = nullptr;    // float16
  const std::int8_t* steps = nullptr;
  unsigned shift = 0;  // a super-block has 2^shift groups, and a row whole super-blocks

  TERSOR_INLINE bool any() const { return wide != nullptr || narrow != nullptr || half != nullptr; }

  // Where the float16 numbers of the rows are that begin at `parameter`, an index of a group's first row.
  TERSOR_INLINE std::size_t shared(std::size_t parameter) const {
    return (parameter / kPanelRows >> shift) * kPanelRows;
  }

  // Without those of the groups before `parameter`, which begins a panel.
  TERSOR_INLINE GroupParameters from(std::size_t parameter) const {
    GroupParameters some = *this;
    if (wide != nullptr) some.wide += parameter;
    if (narrow != nullptr) some.narrow += parameter;
    if (half != nullptr) some.half += shared(parameter);
    if (steps != nullptr) some.steps += parameter;
    return some;
  }

  // What is read of every group: where it is from `parameter` on, and its bytes for each row.
  TERSOR_INLINE const char* place_of(std::size_t parameter) const {
    if (steps != nullptr) return reinterpret_cast<const char*>(steps + parameter);
    if (wide != nullptr) return reinterpret_cast<const char*>(wide + parameter);
    return reinterpret_cast<const char*>((narrow != nullptr ? narrow : half) + parameter);
  }
  TERSOR_INLINE std::size_t size() const {
    return steps != nullptr ? sizeof *steps : wide != nullptr ? sizeof *wide : sizeof *half;
  }
};

}  // namespace tersor

// Parameters of a group's 16 rows; compiled anew for every level.
#pragma once

#include "kernels/group_parameters.hpp"
#include "vectors/float16.hpp"

namespace tersor {
namespace {

TERSOR_INLINE inline Floats numbers_at(const GroupParameters& of, std::size_t parameter) {
  if (of.wide != nullptr) return loaded<Floats>(of.wide + parameter);
  if (of.narrow != nullptr) return from_bfloat16(loaded<Halves>(of.narrow + parameter));
  if (of.steps == nullptr) return from_float16(loaded<Halves>(of.half + parameter));
  const Floats steps = from_int8(loaded<Bytes>(of.steps + parameter));
  return from_float16(loaded<Halves>(of.half + of.shared(parameter))) * steps;
}

}  // namespace
}  // namespace tersor

#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "kernels/kernels.hpp"

namespace tersor {

// The level of that name, or the best. Raises ValueError if this machine cannot run it.
const Kernels& kernels_of(const std::string& level);

// [0, count) in `parts`, the i-th part.
struct Share {
  std::size_t first, last;
  Share(std::size_t count, std::size_t parts, std::size_t i)
      : first(count * i / parts), last(count * (i + 1) / parts) {}
};

}  // namespace tersor

void define_kernels(nanobind::module_& m);

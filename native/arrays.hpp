// Arrays as they come from Python: contiguous, on the CPU.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace tersor {

template <typename T, int kAxes>
using Array =
    nanobind::ndarray<T, nanobind::ndim<kAxes>, nanobind::c_contig, nanobind::device::cpu>;
template <typename T>
using Matrix = Array<T, 2>;

inline void check(bool ok, const char* what) {
  if (!ok) throw nanobind::value_error(what);
}

}  // namespace tersor

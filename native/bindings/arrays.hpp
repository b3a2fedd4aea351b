// Arrays as they come from Python, taken as they are.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <utility>

namespace tersor {

// An array that is never converted: nanobind would copy one of another type or order to one that
// fits, and try overloads of a function in an order that has nothing to do with what was meant.
template <typename... Kind>
struct Exact : nanobind::ndarray<Kind...> {
  using Base = nanobind::ndarray<Kind...>;
  using Base::Base;
  explicit Exact(Base&& array) : Base(std::move(array)) {}
};

template <typename T, int kAxes>
using Array = Exact<T, nanobind::ndim<kAxes>, nanobind::c_contig, nanobind::device::cpu>;
template <typename T>
using Matrix = Array<T, 2>;

inline void check(bool ok, const char* what) {
  if (!ok) throw nanobind::value_error(what);
}

}  // namespace tersor

namespace nanobind::detail {

template <typename... Kind>
struct type_caster<tersor::Exact<Kind...>> {
  using Inner = make_caster<ndarray<Kind...>>;
  NB_TYPE_CASTER(tersor::Exact<Kind...>, Inner::Name)

  bool from_python(handle source, std::uint8_t flags, cleanup_list* cleanup) noexcept {
    Inner inner;
    const auto never = static_cast<std::uint8_t>(cast_flags::convert);
    if (!inner.from_python(source, flags & static_cast<std::uint8_t>(~never), cleanup)) return false;
    value = Value(std::move(inner.value));
    return true;
  }

  static handle from_cpp(const Value& array, rv_policy policy, cleanup_list* cleanup) noexcept {
    return Inner::from_cpp(array, policy, cleanup);
  }
};

}  // namespace nanobind::detail

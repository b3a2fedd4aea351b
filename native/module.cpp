// Python bindings. Arrays cross as DLPack/buffer views: nothing here knows torch.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>

#include "packing.hpp"

namespace nb = nanobind;

namespace {

template <typename T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void check(bool ok, const char* what) {
  if (!ok) throw nb::value_error(what);
}

void pack(Matrix<const std::uint8_t> codes, Matrix<std::uint32_t> words, unsigned bits) {
  check(bits >= 1 && bits <= 8, "bits must be 1..8");
  check(words.shape(0) == codes.shape(0), "words and codes differ in rows");
  check(words.shape(1) == tersor::words_per_row(codes.shape(1), bits), "wrong words per row");
  nb::gil_scoped_release release;
  tersor::pack_rows(codes.data(), words.data(), codes.shape(0), codes.shape(1), bits);
}

void unpack(Matrix<const std::uint32_t> words, Matrix<std::uint8_t> codes, unsigned bits) {
  check(bits >= 1 && bits <= 8, "bits must be 1..8");
  check(words.shape(0) == codes.shape(0), "words and codes differ in rows");
  check(words.shape(1) == tersor::words_per_row(codes.shape(1), bits), "wrong words per row");
  nb::gil_scoped_release release;
  tersor::unpack_rows(words.data(), codes.data(), codes.shape(0), codes.shape(1), bits);
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "tersor's C++ core";
  m.def("pack", &pack, nb::arg("codes"), nb::arg("words"), nb::arg("bits"),
        "Pack codes (rows, cols) uint8 densely into words (rows, ceil(cols*bits/32)) uint32.");
  m.def("unpack", &unpack, nb::arg("words"), nb::arg("codes"), nb::arg("bits"),
        "Unpack words (rows, ceil(cols*bits/32)) uint32 into codes (rows, cols) uint8.");
}

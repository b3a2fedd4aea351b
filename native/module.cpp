// Python bindings. Arrays cross as DLPack/buffer views: nothing here knows torch.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>

#include "errors.hpp"
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

// Rows may be slices of a wider matrix, but the values of a row are contiguous.
using Rows = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;

void error_sums(Rows original, Rows decoded, Matrix<const float> low, Matrix<const float> high,
                Matrix<const float> grid_low, Matrix<const float> grid_high,
                Matrix<double> sums) {
  const std::size_t rows = low.shape(0), groups = low.shape(1), columns = original.shape(1);
  check(original.shape(0) == rows && decoded.shape(0) == rows && sums.shape(0) == rows,
        "matrices differ in rows");
  check(decoded.shape(1) == columns, "original and decoded differ in columns");
  check(groups > 0 && columns % groups == 0, "columns are no multiple of groups");
  check(columns <= 1 || (original.stride(1) == 1 && decoded.stride(1) == 1),
        "rows must be contiguous");
  for (const auto& ends : {high, grid_low, grid_high}) {
    check(ends.shape(0) == rows && ends.shape(1) == groups, "ranges differ in shape");
  }
  check(sums.shape(1) == tersor::kErrorSums, "sums needs five columns");
  const tersor::ErrorBlocks blocks = {
      original.data(),  decoded.data(), low.data(),       high.data(),
      grid_low.data(),  grid_high.data(), rows,           groups,
      columns / groups, static_cast<std::size_t>(original.stride(0)),
      static_cast<std::size_t>(decoded.stride(0))};
  nb::gil_scoped_release release;
  tersor::error_sums(blocks, sums.data());
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "tersor's C++ core";
  m.def("pack", &pack, nb::arg("codes"), nb::arg("words"), nb::arg("bits"),
        "Pack codes (rows, cols) uint8 densely into words (rows, ceil(cols*bits/32)) uint32.");
  m.def("unpack", &unpack, nb::arg("words"), nb::arg("codes"), nb::arg("bits"),
        "Unpack words (rows, ceil(cols*bits/32)) uint32 into codes (rows, cols) uint8.");
  m.def("error_sums", &error_sums, nb::arg("original"), nb::arg("decoded"), nb::arg("low"),
        nb::arg("high"), nb::arg("grid_low"), nb::arg("grid_high"), nb::arg("sums"),
        "Sums of the parts of a quantization error, per row; see tersor.grids.error.");
}

// Python bindings. Arrays cross as DLPack/buffer views: nothing here knows torch.
#include <nanobind/nanobind.h>

#include <string>

#include "bindings/arrays.hpp"
#include "measuring/divergence.hpp"
#include "measuring/error_sums.hpp"
#include "quantizing/gptq.hpp"
#include "bindings/engine.hpp"
#include "bindings/kernels.hpp"
#include "bindings/quantizing/ranges.hpp"
#include "measuring/moments.hpp"
#include "quantizing/packing.hpp"

namespace nb = nanobind;

namespace {

using tersor::Array;
using tersor::check;
using tersor::Matrix;

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
using Rows = tersor::Exact<const float, nb::ndim<2>, nb::device::cpu>;

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

// (strips, columns, kStripRows) or, for scales, (strips, steps, kStripRows).
template <typename T>
using Strips = Array<T, 3>;
template <typename T>
using Vector = Array<T, 1>;

// What the three functions have in common: the arrays of tersor::GptqStrips.
struct PanelArrays {
  Strips<const float> original;
  Strips<float> targets, errors;
  Strips<std::uint8_t> codes;
  Matrix<const float> feedback;

  tersor::GptqStrips checked(std::size_t first, std::size_t last) const {
    const std::size_t strips = original.shape(0), columns = original.shape(1);
    const auto like = [&](const auto& other) {
      return other.shape(0) == strips && other.shape(1) == columns &&
             other.shape(2) == tersor::kStripRows;
    };
    check(like(original) && like(targets) && like(errors) && like(codes), "strips differ in shape");
    check(feedback.shape(0) == columns && feedback.shape(1) == columns,
          "feedback is not square in the columns");
    check(first <= last && last <= columns, "no such range of columns");
    return {original.data(), targets.data(),  errors.data(), codes.data(),
            feedback.data(), strips, columns};
  }
};

tersor::GptqScales checked_scales(const Strips<const float>& scale, const Strips<const float>& lowest,
                                  std::size_t strips, std::size_t columns) {
  for (const auto& part : {scale, lowest}) {
    check(part.shape(0) == strips && part.shape(1) == scale.shape(1) &&
              part.shape(2) == tersor::kStripRows,
          "scales and strips differ in shape");
  }
  check(scale.shape(1) == 1 || scale.shape(1) == columns, "one scale for all columns or for each");
  return {scale.data(), lowest.data(), scale.shape(1)};
}

void gptq_feed(Strips<const float> original, Strips<float> targets, Strips<float> errors,
               Strips<std::uint8_t> codes, Matrix<const float> feedback, std::size_t first,
               std::size_t last, Strips<float> corrected) {
  const auto panel = PanelArrays{original, targets, errors, codes, feedback}.checked(first, last);
  check(corrected.shape(0) == panel.strips && corrected.shape(1) == last - first &&
            corrected.shape(2) == tersor::kStripRows,
        "corrected and strips differ in shape");
  nb::gil_scoped_release release;
  tersor::gptq_feed(panel, first, last, corrected.data());
}

void gptq_integers(Strips<const float> original, Strips<float> targets, Strips<float> errors,
                   Strips<std::uint8_t> codes, Matrix<const float> feedback, std::size_t first,
                   std::size_t last, std::size_t together, Strips<const float> scale,
                   Strips<const float> lowest, unsigned top, int first_code) {
  const auto panel = PanelArrays{original, targets, errors, codes, feedback}.checked(first, last);
  const auto scales = checked_scales(scale, lowest, panel.strips, last - first);
  check(together > 0, "block must be 1 or more");
  check(top <= 255, "codes must fit a byte");
  nb::gil_scoped_release release;
  tersor::gptq_integers(panel, {first, last, together}, scales,
                        {static_cast<float>(top), first_code});
}

void gptq_levels(Strips<const float> original, Strips<float> targets, Strips<float> errors,
                 Strips<std::uint8_t> codes, Matrix<const float> feedback, std::size_t first,
                 std::size_t last, std::size_t together, Strips<const float> scale,
                 Vector<const float> levels, Vector<const float> boundaries,
                 Vector<const std::uint8_t> level_codes) {
  const auto panel = PanelArrays{original, targets, errors, codes, feedback}.checked(first, last);
  const auto scales = checked_scales(scale, scale, panel.strips, last - first);
  const std::size_t count = levels.shape(0);
  check(together > 0, "block must be 1 or more");
  check(count > 0 && level_codes.shape(0) == count && boundaries.shape(0) == count - 1,
        "levels, boundaries and codes do not belong together");
  nb::gil_scoped_release release;
  tersor::gptq_levels(panel, {first, last, together}, scales,
                      {levels.data(), boundaries.data(), level_codes.data(), count});
}

std::size_t gptq_factor(Matrix<const float> hessian, Vector<const std::int64_t> order,
                        Vector<const double> ridge, Matrix<float> feedback) {
  const std::size_t n = order.shape(0);
  check(hessian.shape(0) == n && hessian.shape(1) == n, "the Hessian is not square in the order");
  check(feedback.shape(0) == n && feedback.shape(1) == n, "feedback and Hessian differ in shape");
  check(ridge.shape(0) == n, "ridge and Hessian differ in shape");
  for (std::size_t i = 0; i < n; ++i) {
    check(order.data()[i] >= 0 && static_cast<std::size_t>(order.data()[i]) < n,
          "order names a column that does not exist");
  }
  nb::gil_scoped_release release;
  return tersor::gptq_factor(hessian.data(), order.data(), ridge.data(), feedback.data(), n);
}

template <typename T>
void add_second_moment(Matrix<const T> x, Matrix<float> total, std::size_t part,
                       std::size_t parts) {
  const std::size_t width = x.shape(1);
  check(total.shape(0) == width && total.shape(1) == width, "total is not square in the columns");
  check(part < parts, "no such part");
  nb::gil_scoped_release release;
  tersor::add_second_moment(x.data(), x.shape(0), width, total.data(), {part, parts});
}

template <typename T>
void add_cross_moment(Matrix<const T> left, Matrix<const T> right, Matrix<float> total,
                      std::size_t part, std::size_t parts) {
  check(left.shape(0) == right.shape(0), "left and right differ in tokens");
  check(total.shape(0) == left.shape(1) && total.shape(1) == right.shape(1),
        "total is not as high as left and as wide as right");
  check(part < parts, "no such part");
  nb::gil_scoped_release release;
  tersor::add_cross_moment(left.data(), right.data(), left.shape(0), left.shape(1), right.shape(1),
                           total.data(), {part, parts});
}

template <typename T>
void define_moments(nb::module_& m) {
  m.def("add_second_moment", &add_second_moment<T>, nb::arg("x"), nb::arg("total"),
        nb::arg("part"), nb::arg("parts"),
        "Add X^T X to a part of total, on and right of the diagonal; uint16 means bfloat16.");
  m.def("add_cross_moment", &add_cross_moment<T>, nb::arg("left"), nb::arg("right"),
        nb::arg("total"), nb::arg("part"), nb::arg("parts"),
        "Add X^T Y to a part of total; uint16 means bfloat16.");
}

template <typename T>
void divergence(Matrix<T> student, Matrix<const T> teacher, Vector<double> totals) {
  check(teacher.shape(0) == student.shape(0) && teacher.shape(1) == student.shape(1),
        "student and teacher differ in shape");
  check(totals.shape(0) == student.shape(0), "one total for every row");
  check(student.shape(1) > 0, "no logits");
  nb::gil_scoped_release release;
  tersor::divergence(student.data(), teacher.data(), student.shape(0), student.shape(1),
                     totals.data());
}

template <typename T>
void define_divergence(nb::module_& m) {
  m.def("divergence", &divergence<T>, nb::arg("student"), nb::arg("teacher"), nb::arg("totals"),
        "Divergence per row; the student's logits become its gradient; uint16 means bfloat16.");
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
  define_ranges(m);
  m.def("gptq_feed", &gptq_feed, nb::kw_only(), nb::arg("original"), nb::arg("targets"), nb::arg("errors"),
        nb::arg("codes"), nb::arg("feedback"), nb::arg("first"), nb::arg("last"),
        nb::arg("corrected"),
        "Pass the errors before `first` on to first..last; see tersor.rounding.gptq.");
  m.def("gptq_integers", &gptq_integers, nb::kw_only(), nb::arg("original"), nb::arg("targets"),
        nb::arg("errors"), nb::arg("codes"), nb::arg("feedback"), nb::arg("first"),
        nb::arg("last"), nb::arg("block"), nb::arg("scale"), nb::arg("lowest"), nb::arg("top"),
        nb::arg("first_code"), "Round columns first..last to integers; see tersor.rounding.gptq.");
  m.def("gptq_levels", &gptq_levels, nb::kw_only(), nb::arg("original"), nb::arg("targets"), nb::arg("errors"),
        nb::arg("codes"), nb::arg("feedback"), nb::arg("first"), nb::arg("last"),
        nb::arg("block"), nb::arg("scale"), nb::arg("levels"), nb::arg("boundaries"),
        nb::arg("level_codes"),
        "Round columns first..last to sorted levels; see tersor.rounding.gptq.");
  m.def("gptq_factor", &gptq_factor, nb::arg("hessian"), nb::arg("order"), nb::arg("ridge"),
        nb::arg("feedback"),
        "Feedback of a Hessian; returns its size, or the index of the pivot that failed.");
  define_moments<float>(m);
  define_moments<std::uint16_t>(m);
  define_divergence<float>(m);
  define_divergence<std::uint16_t>(m);
  define_engine(m);
  define_kernels(m);
}

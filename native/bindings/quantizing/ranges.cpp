// Searches for what a grid's scale and minimum shall be.
#include "bindings/quantizing/ranges.hpp"

#include "bindings/arrays.hpp"
#include "quantizing/best_lines.hpp"
#include "quantizing/range_search.hpp"

namespace nb = nanobind;

namespace {

using tersor::Array;
using tersor::check;
using tersor::Matrix;

// Blocks (rows, groups, size); the values of a block are contiguous.
using BlockView = tersor::Exact<const float, nb::ndim<3>, nb::device::cpu>;
template <typename T>
using PerStep = Array<T, 3>;

tersor::Blocks checked_blocks(const BlockView& blocks) {
  check(blocks.shape(2) <= 1 || blocks.stride(2) == 1, "values of a block must be contiguous");
  return {blocks.data(), blocks.stride(0), blocks.stride(1)};
}

void range_search(BlockView values, BlockView importance, PerStep<const float> scale,
                  PerStep<const float> lowest, unsigned top, float norm,
                  Matrix<std::int64_t> best) {
  const std::size_t rows = values.shape(0), groups = values.shape(1), size = values.shape(2);
  check(importance.shape(0) == rows && importance.shape(1) == groups && importance.shape(2) == size,
        "values and importance differ in shape");
  check(scale.shape(0) == rows && scale.shape(1) == groups, "scale and values differ in shape");
  check(lowest.size() == 1 || (lowest.shape(0) == rows && lowest.shape(1) == groups &&
                               lowest.shape(2) == scale.shape(2)),
        "lowest and scale differ in shape");
  check(best.shape(0) == rows && best.shape(1) == groups, "best and values differ in shape");
  check(top <= 255, "codes must fit a byte");
  const tersor::RangeSearch search = {checked_blocks(values), checked_blocks(importance),
                                      rows, groups, size, scale.data(), lowest.data(),
                                      scale.shape(2), lowest.size() == 1,
                                      static_cast<float>(top), norm};
  nb::gil_scoped_release release;
  tersor::range_search(search, best.data());
}

struct Best {
  Matrix<float> scale, minimum, loss;
  Matrix<std::int64_t> start;

  tersor::BestLines checked(std::size_t rows, std::size_t groups) const {
    for (const auto& one : {scale, minimum, loss}) {
      check(one.shape(0) == rows && one.shape(1) == groups, "results and values differ in shape");
    }
    check(start.shape(0) == rows && start.shape(1) == groups, "start and values differ in shape");
    return {scale.data(), minimum.data(), loss.data(), start.data()};
  }
};

void best_lines(BlockView values, BlockView importance, PerStep<const float> scale,
                PerStep<const float> minimum, unsigned rounds, float lowest, float highest,
                bool has_minima, bool negative, Matrix<float> best_scale,
                Matrix<float> best_minimum, Matrix<float> loss, Matrix<std::int64_t> start) {
  const std::size_t rows = values.shape(0), groups = values.shape(1), size = values.shape(2);
  const std::size_t starts = scale.shape(2);
  check(importance.shape(0) == rows && importance.shape(1) == groups && importance.shape(2) == size,
        "values and importance differ in shape");
  check(starts > 0, "no starts");
  for (const auto& one : {scale, minimum}) {
    check(one.shape(0) == rows && one.shape(1) == groups && one.shape(2) == starts,
          "starts and values differ in shape");
  }
  check(-256.0f <= lowest && lowest <= highest && highest <= 256.0f, "codes must fit a byte");
  const tersor::LineStarts given = {checked_blocks(values), checked_blocks(importance),
                                    rows, groups, size, scale.data(), minimum.data(), starts,
                                    rounds, lowest, highest, has_minima, negative};
  const Best best = {best_scale, best_minimum, loss, start};
  const tersor::BestLines found = best.checked(rows, groups);
  nb::gil_scoped_release release;
  tersor::best_lines(given, found);
}

}  // namespace

void define_ranges(nb::module_& m) {
  m.def("range_search", &range_search, nb::arg("values"), nb::arg("importance"), nb::arg("scale"),
        nb::arg("lowest"), nb::arg("top"), nb::arg("norm"), nb::arg("best"),
        "The first step with the smallest error, for each block; see tersor.ranges.mse.");
  m.def("best_lines", &best_lines, nb::kw_only(), nb::arg("values"), nb::arg("importance"),
        nb::arg("scale"), nb::arg("minimum"), nb::arg("rounds"), nb::arg("lowest"),
        nb::arg("highest"), nb::arg("has_minima"), nb::arg("negative"), nb::arg("best_scale"),
        nb::arg("best_minimum"), nb::arg("loss"), nb::arg("start"),
        "The line that loses least, for each block; see tersor.ranges._lines.");
}

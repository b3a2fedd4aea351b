// GPTQ: rounding with error feedback; see tersor/rounding/gptq.py for the mathematics.
//
// Weights come in strips of 64 rows of the matrix, transposed: (strips, columns, kStripRows), columns in
// the order in which they are rounded. A column of a strip is then a few whole vectors, and all that
// the rounding of a strip touches is contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor {

constexpr std::size_t kStripRows = 64;

struct GptqStrips {
  const float* original;  // (strips, columns, kStripRows): the weights
  float* targets;         // the weights plus the feedback of all errors known so far
  float* errors;          // weight - rounded weight; known before `first`, written up to `last`
  std::uint8_t* codes;    // bytes of the codes, written from `first` to `last`
  const float* feedback;  // (columns, columns): row j holds the shares of errors k < j
  std::size_t strips, columns;
};

// Columns first..last, rounded so many `together`; the result does not depend on it.
struct GptqRange {
  std::size_t first, last, together;
};

// Parameters of a scale: (strips, steps, kStripRows), one step for all columns of the range, or one
// for each.
struct GptqScales {
  const float* scale;
  const float* lowest;  // level of the smallest code, an integer; sorted levels do not read it
  std::size_t steps;
};

// Levels lowest, lowest + 1, ... lowest + top, whose codes start with `first_code`.
struct IntegerLevels {
  float top;
  int first_code;
};

// Ascending levels; a value belongs to the first level whose boundary is not below it.
struct SortedLevels {
  const float* levels;      // (count)
  const float* boundaries;  // (count - 1)
  const std::uint8_t* codes;
  std::size_t count;
};

// Adds the feedback of all errors before `first` to the targets first..last. A target is the value to
// round once the columns between `first` and it are rounded, so it is no weight to fit a scale to.
// `corrected`, (strips, last - first, kStripRows), is: the weights that would make up for the errors
// best if nothing more were rounded, W + C with (F + 1) C = feedback, F that of first..last.
void gptq_feed(const GptqStrips& all, std::size_t first, std::size_t last, float* corrected);

// Rounds first..last, whose targets hold the feedback from before `first` already.
void gptq_integers(const GptqStrips& all, const GptqRange& range, const GptqScales& scales,
                   const IntegerLevels& grid);
void gptq_levels(const GptqStrips& all, const GptqRange& range, const GptqScales& scales,
                 const SortedLevels& grid);

// The feedback of a Hessian (n, n), float32: P H P^T + diag(ridge) = F^T D F with F the unit lower
// triangular matrix whose strict part is `feedback` (n, n). `order` is P: row j is column order[j].
// Computed in double. Returns n, or the index of the first pivot that has no correct digit left; then
// `feedback` is not to be used.
std::size_t gptq_factor(const float* hessian, const std::int64_t* order, const double* ridge,
                        float* feedback, std::size_t n);

}  // namespace tersor

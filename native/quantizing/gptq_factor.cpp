// Factorization of the Hessian: blocked, left-looking, single-threaded.
//
// LAPACK's result changes in the last digits with the number of threads, and then a code may change;
// this one is as fast for the sizes at hand and always gives the same bits.
#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "quantizing/gptq.hpp"
#include "vectors/any_width.hpp"

namespace tersor {
namespace {

constexpr std::size_t kRowsTogether = 64;
// Columns are stored in strips of 128 bytes: rows of a whole matrix would each lie in a page of their
// own, and for many sizes in the same few sets of the cache.
constexpr std::size_t kFactorColumns = 16;

// V, unit upper triangular, in A = V^T D V. Before a row is finished it holds the row of A, and D V
// after the terms of earlier rows are subtracted. What is left of the diagonal is arbitrary.
struct Factor {
  std::size_t n, strips;
  std::vector<double> values;   // (strips, n, kFactorColumns)
  std::vector<double> pivots;   // (n): D
  std::vector<double> against;  // (kRowsTogether, n): -D V, transposed, for the columns of some rows

  explicit Factor(std::size_t size)
      : n(size), strips((size + kFactorColumns - 1) / kFactorColumns), values(strips * n * kFactorColumns), pivots(n),
        against(kRowsTogether * n) {}

  double* row(std::size_t strip, std::size_t index) {
    return values.data() + (strip * n + index) * kFactorColumns;
  }
  double& at(std::size_t index, std::size_t column) {
    return row(column / kFactorColumns, index)[column % kFactorColumns];
  }
};

// Subtracts the terms of rows known..start from rows start..stop, from column `start` on.
template <std::size_t kBytes>
TERSOR_INLINE inline void subtract(Factor& factor, std::size_t known, std::size_t start, std::size_t stop) {
  for (std::size_t k = known; k < start; ++k) {
    for (std::size_t j = start; j < stop; ++j) {
      factor.against[(j - start) * factor.n + k - known] = -factor.pivots[k] * factor.at(k, j);
    }
  }
  for (std::size_t strip = start / kFactorColumns; strip < factor.strips; ++strip) {
    add_products<kBytes, kFactorColumns, double>({factor.against.data(), factor.n},
                                        {factor.row(strip, known), kFactorColumns}, start - known,
                                        {factor.row(strip, start), kFactorColumns}, stop - start);
  }
}

// A pivot is what remains of a diagonal element after the subtraction of numbers up to its size:
// smaller than their rounding errors, it means nothing, and its row would be noise.
TERSOR_INLINE inline bool finish_row(Factor& factor, std::size_t index, double diagonal) {
  const double pivot = factor.at(index, index);
  const double noise =
      diagonal * static_cast<double>(factor.n) * std::numeric_limits<double>::epsilon();
  if (!(pivot > noise)) return false;
  factor.pivots[index] = pivot;
  for (std::size_t strip = index / kFactorColumns; strip < factor.strips; ++strip) {
    double* row = factor.row(strip, index);
    for (std::size_t lane = 0; lane < kFactorColumns; ++lane) row[lane] /= pivot;
  }
  return true;
}

// Returns the number of rows that could be finished. `diagonal`: (n), of A.
template <std::size_t kBytes>
TERSOR_INLINE inline std::size_t factorize(Factor& factor, const double* diagonal) {
  for (std::size_t start = 0; start < factor.n; start += kRowsTogether) {
    const std::size_t stop = std::min(start + kRowsTogether, factor.n);
    subtract<kBytes>(factor, 0, start, stop);
    for (std::size_t row = start; row < stop; ++row) {
      subtract<kBytes>(factor, start, row, row + 1);
      if (!finish_row(factor, row, diagonal[row])) return row;
    }
  }
  return factor.n;
}

}  // namespace

// The last column to be rounded is eliminated first: A is the Hessian with its order reversed.
std::size_t gptq_factor(const float* hessian, const std::int64_t* order, const double* ridge,
                        float* feedback, std::size_t n) {
  Factor factor(n);
  std::vector<double> diagonal(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = hessian + static_cast<std::size_t>(order[n - 1 - i]) * n;
    for (std::size_t j = i; j < n; ++j) factor.at(i, j) = row[order[n - 1 - j]];
    factor.at(i, i) += ridge[order[n - 1 - i]];
    diagonal[i] = factor.at(i, i);
  }
  std::size_t finished = 0;
  with_vectors([&](auto width) TERSOR_INLINE {
    finished = factorize<width>(factor, diagonal.data());
  });
  if (finished < n) return finished;
  for (std::size_t i = 0; i < n; ++i) {
    float* shares = feedback + i * n;
    for (std::size_t j = 0; j < i; ++j) {
      shares[j] = static_cast<float>(factor.at(n - 1 - i, n - 1 - j));
    }
    std::fill(shares + i, shares + n, 0.0f);
  }
  return n;
}

}  // namespace tersor

#include "measuring/divergence.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "vectors/any_width.hpp"
#include "vectors/exponential.hpp"

namespace tersor {
namespace {

// Columns that are summed side by side, whatever the width of the vectors.
constexpr std::size_t kLanes = 16;

template <std::size_t kBytes>
using Floats = Vector<float, kBytes>;
template <std::size_t kBytes>
using Bits = Vector<std::uint32_t, kBytes>;
template <std::size_t kBytes>
using Halves = Vector<std::uint16_t, kBytes / 2>;

template <std::size_t kBytes, typename T>
TERSOR_INLINE inline Floats<kBytes> load(const T* from) {
  if constexpr (std::is_same_v<T, float>) {
    return at<kBytes>(from);
  } else {
    const Halves<kBytes> halves = at<kBytes / 2>(from);
    return (Floats<kBytes>)(__builtin_convertvector(halves, Bits<kBytes>) << 16);
  }
}

// Bfloat16: to nearest, ties to even.
template <std::size_t kBytes, typename T>
TERSOR_INLINE inline void store(T* to, const Floats<kBytes>& value) {
  if constexpr (std::is_same_v<T, float>) {
    at<kBytes>(to) = value;
  } else {
    const Bits<kBytes> bits = (Bits<kBytes>)value;
    const Bits<kBytes> rounded = bits + 0x7fff + ((bits >> 16) & 1);
    at<kBytes / 2>(to) = __builtin_convertvector(rounded >> 16, Halves<kBytes>);
  }
}

// e^x for x <= 0 to about 1 ulp; below -87 it is e^-87.
template <std::size_t kBytes>
TERSOR_INLINE inline Floats<kBytes> exponential(Floats<kBytes> x) {
  const Floats<kBytes> least = Floats<kBytes>{} - 87.0f;
  const auto [power, whole] = exponential_parts<Floats<kBytes>>(x > least ? x : least);
  using Integers = Vector<std::int32_t, kBytes>;
  const Integers exponent = __builtin_convertvector(whole, Integers) + 127;
  return power * (Floats<kBytes>)(exponent << 23);
}

// A row of logits, padded to whole lanes, and their exponentials.
struct Row {
  explicit Row(std::size_t padded) : logits(padded), powers(padded) {}
  std::vector<float> logits, powers;
  float largest = 0.0f;
  double sum = 0.0;

  double log_sum() const { return largest + std::log(sum); }
};

inline double total(const float (&lanes)[kLanes]) {
  double sum = 0.0;
  for (float lane : lanes) sum += lane;
  return sum;
}

template <std::size_t kBytes, typename T>
TERSOR_INLINE inline void read(const T* from, std::size_t columns, Row& row) {
  constexpr std::size_t kStep = kBytes / sizeof(float);
  const std::size_t whole = columns / kLanes * kLanes, padded = row.logits.size();
  T tail[kLanes] = {};
  std::copy(from + whole, from + columns, tail);
  for (std::size_t i = 0; i < padded; i += kStep) {
    const T* source = i < whole ? from + i : tail + (i - whole);
    at<kBytes>(row.logits.data() + i) = load<kBytes>(source);
  }
  row.largest = *std::max_element(row.logits.begin(), row.logits.begin() + columns);
  for (std::size_t i = 0; i < padded; i += kStep) {
    at<kBytes>(row.powers.data() + i) =
        exponential<kBytes>(at<kBytes>(row.logits.data() + i) - row.largest);
  }
  std::fill(row.powers.begin() + columns, row.powers.end(), 0.0f);
  float sums[kLanes] = {};
  for (std::size_t i = 0; i < padded; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; lane += kStep) {
      at<kBytes>(sums + lane) += at<kBytes>(row.powers.data() + i + lane);
    }
  }
  row.sum = total(sums);
}

// Sum over the columns of p * (teacher's logit - student's logit).
template <std::size_t kBytes>
TERSOR_INLINE inline double mean_distance(const Row& teacher, const Row& student) {
  constexpr std::size_t kStep = kBytes / sizeof(float);
  float sums[kLanes] = {};
  for (std::size_t i = 0; i < teacher.powers.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; lane += kStep) {
      const Floats<kBytes> distance = at<kBytes>(teacher.logits.data() + i + lane) -
                                      at<kBytes>(student.logits.data() + i + lane);
      at<kBytes>(sums + lane) += at<kBytes>(teacher.powers.data() + i + lane) * distance;
    }
  }
  return total(sums) / teacher.sum;
}

template <std::size_t kBytes, typename T>
TERSOR_INLINE inline void write_gradient(const Row& teacher, const Row& student, T* to, std::size_t columns) {
  constexpr std::size_t kStep = kBytes / sizeof(float);
  const std::size_t whole = columns / kLanes * kLanes;
  const float p = static_cast<float>(1.0 / teacher.sum), q = static_cast<float>(1.0 / student.sum);
  T tail[kLanes];
  for (std::size_t i = 0; i < teacher.powers.size(); i += kStep) {
    const Floats<kBytes> slope = at<kBytes>(student.powers.data() + i) * q -
                                 at<kBytes>(teacher.powers.data() + i) * p;
    store<kBytes>(i < whole ? to + i : tail + (i - whole), slope);
  }
  std::copy(tail, tail + (columns - whole), to + whole);
}

}  // namespace

template <typename T>
void divergence(T* student, const T* teacher, std::size_t rows, std::size_t columns,
                double* totals) {
  const std::size_t padded = (columns + kLanes - 1) / kLanes * kLanes;
  Row ours(padded), theirs(padded);
  with_vectors([&](auto width) TERSOR_INLINE {
    for (std::size_t row = 0; row < rows; ++row) {
      T* logits = student + row * columns;
      read<width>(logits, columns, ours);
      read<width>(teacher + row * columns, columns, theirs);
      totals[row] = mean_distance<width>(theirs, ours) + (ours.log_sum() - theirs.log_sum());
      write_gradient<width>(theirs, ours, logits, columns);
    }
  });
}

template void divergence(float*, const float*, std::size_t, std::size_t, double*);
template void divergence(std::uint16_t*, const std::uint16_t*, std::size_t, std::size_t, double*);

}  // namespace tersor

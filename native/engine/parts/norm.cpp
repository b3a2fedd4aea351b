#include "engine/parts/norm.hpp"

#include <cmath>

namespace tersor {
namespace {

// In as many sums as a vector has elements, so that the compiler may use one.
template <typename Term>
float mean_of(std::size_t size, const Term& term) {
  constexpr std::size_t kSums = 16;
  float sums[kSums] = {};
  std::size_t i = 0;
  for (; i + kSums <= size; i += kSums) {
    for (std::size_t j = 0; j < kSums; ++j) sums[j] += term(i + j);
  }
  for (std::size_t j = 0; i < size; ++i, ++j) sums[j] += term(i);
  float sum = 0.0f;
  for (const float part : sums) sum += part;
  return sum / static_cast<float>(size);
}

}  // namespace

void Norm::centre(const float* x, std::size_t size, float* y) const {
  const float mean = mean_of(size, [&](std::size_t i) { return x[i]; });
  const float variance = mean_of(size, [&](std::size_t i) { return (x[i] - mean) * (x[i] - mean); });
  const float factor = 1.0f / std::sqrt(variance + epsilon);
  for (std::size_t i = 0; i < size; ++i) {
    const float normed = (x[i] - mean) * factor;
    y[i] = (weight == nullptr ? normed : weight[i] * normed) + (bias == nullptr ? 0.0f : bias[i]);
  }
}

}  // namespace tersor

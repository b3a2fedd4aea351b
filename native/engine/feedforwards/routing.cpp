#include "engine/feedforwards/routing.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tersor {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void soften(float* x, std::size_t size) {
  const float largest = *std::max_element(x, x + size);
  float sum = 0.0f;
  for (std::size_t i = 0; i < size; ++i) sum += x[i] = std::exp(x[i] - largest);
  for (std::size_t i = 0; i < size; ++i) x[i] /= sum;
}

// Of several that are largest, and of what is not a number, the first.
std::size_t index_of_largest(const float* x, std::size_t size) {
  return static_cast<std::size_t>(std::max_element(x, x + size) - x);
}

// Leaves the `kept` best of so many groups of `size` values, and of others `kNever`.
void keep_groups(float* x, std::size_t groups, std::size_t kept, std::size_t size, float* totals) {
  for (std::size_t g = 0; g < groups; ++g) {
    float best = kNever, second = kNever;
    for (const float* value = x + g * size; value < x + (g + 1) * size; ++value) {
      second = std::max(second, std::min(best, *value));
      best = std::max(best, *value);
    }
    totals[g] = size > 1 ? best + second : best;
  }
  for (std::size_t dropped = groups; dropped > kept; --dropped) {
    std::size_t worst = groups;
    for (std::size_t g = 0; g < groups; ++g) {
      const bool is_left = !std::isnan(totals[g]);
      if (is_left && (worst == groups || totals[g] <= totals[worst])) worst = g;
    }
    if (worst == groups) return;
    totals[worst] = std::numeric_limits<float>::quiet_NaN();
    std::fill_n(x + worst * size, size, kNever);
  }
}

}  // namespace

void Routing::choose(float* logits, Choice* choices, float* scratch) const {
  if (scores == Scores::softmax) {
    soften(logits, experts);
  } else {
    for (std::size_t e = 0; e < experts; ++e) logits[e] = 1.0f / (1.0f + std::exp(-logits[e]));
  }
  for (std::size_t e = 0; e < experts; ++e) {
    scratch[e] = logits[e] + (correction == nullptr ? 0.0f : correction[e]);
    if (std::isnan(scratch[e])) scratch[e] = std::numeric_limits<float>::lowest();
  }
  if (chosen_groups < groups) keep_groups(scratch, groups, chosen_groups, experts / groups, scratch + experts);
  float sum = 0.0f;
  for (std::size_t i = 0; i < chosen; ++i) {
    const std::size_t expert = index_of_largest(scratch, experts);
    scratch[expert] = kNever;
    choices[i] = {static_cast<std::uint32_t>(expert), logits[expert]};
    sum += logits[expert];
  }
  const float factor = normalized ? scale / std::max(sum, least) : scale;
  for (std::size_t i = 0; i < chosen; ++i) choices[i].weight *= factor;
  std::sort(choices, choices + chosen, [](const Choice& a, const Choice& b) { return a.expert < b.expert; });
}

}  // namespace tersor

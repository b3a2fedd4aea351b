#include "engine/sample.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tersor {
namespace {

struct Candidate {
  float logit;
  std::size_t token;
};

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

double total(const std::vector<double>& weights) {
  double sum = 0.0;
  for (const double weight : weights) sum += weight;
  return sum;
}

std::vector<double> weights_of(const std::vector<Candidate>& candidates, float top,
                               float temperature) {
  std::vector<double> weights(candidates.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] = std::exp((static_cast<double>(candidates[i].logit) - top) / temperature);
  }
  return weights;
}

// Brings the likeliest that hold `share` of all weight to the front, in order; the number of them. Few are
// usually enough, so more and more are sorted until they are.
std::size_t likeliest(std::vector<Candidate>& candidates, float top, float temperature, double share) {
  const double whole = total(weights_of(candidates, top, temperature));
  for (std::size_t count = 64;; count *= 8) {
    const std::size_t sorted = std::min(count, candidates.size());
    std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(sorted),
                      candidates.end(), likelier);
    double held = 0.0;
    for (std::size_t i = 0; i < sorted; ++i) {
      held += std::exp((static_cast<double>(candidates[i].logit) - top) / temperature);
      if (held >= share * whole) return i + 1;
    }
    if (sorted == candidates.size()) return sorted;
  }
}

}  // namespace

std::size_t largest(const float* logits, std::size_t size) {
  return static_cast<std::size_t>(std::max_element(logits, logits + size) - logits);
}

std::size_t sample(const float* logits, std::size_t size, const Sampling& sampling, double uniform) {
  const std::size_t best = largest(logits, size);
  if (sampling.temperature <= 0.0f) return best;
  const float top = logits[best];
  // Tokens 1e13 times less likely than the likeliest are never drawn, so they need not be looked at.
  const float least_of_all = top - 30.0f * sampling.temperature;
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < size; ++i) {
    if (logits[i] >= least_of_all) candidates.push_back({logits[i], i});
  }
  if (sampling.top_k > 0 && sampling.top_k < candidates.size()) {
    const auto cut = candidates.begin() + static_cast<std::ptrdiff_t>(sampling.top_k);
    std::nth_element(candidates.begin(), cut, candidates.end(), likelier);
    candidates.erase(cut, candidates.end());
  }
  if (sampling.top_p < 1.0f) {
    candidates.resize(likeliest(candidates, top, sampling.temperature, sampling.top_p));
  }
  if (sampling.min_p > 0.0f) {
    const float least = top + sampling.temperature * std::log(sampling.min_p);
    std::erase_if(candidates, [&](const Candidate& c) { return c.logit < least; });
  }
  const std::vector<double> weights = weights_of(candidates, top, sampling.temperature);
  double left = uniform * total(weights);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0.0) return candidates[i].token;
  }
  return best;
}

}  // namespace tersor

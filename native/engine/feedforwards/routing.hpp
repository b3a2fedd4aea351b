// Which experts a token goes to, and how much each of them counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor {

struct Choice {
  std::uint32_t expert;
  float weight;
};

enum class Scores { softmax, sigmoid };

struct Routing {
  Scores scores = Scores::softmax;
  std::size_t experts = 0, chosen = 0;
  // Only experts of the best groups are chosen; a group is as good as its best two.
  std::size_t groups = 1, chosen_groups = 1;
  // Whether the weights of the chosen are divided by their sum, which counts as `least` if it is less.
  bool normalized = false;
  float least = 0.0f, scale = 1.0f;
  // Added to the scores of experts, for choosing only; or null.
  const float* correction = nullptr;

  // `logits` (experts) become scores. Writes `chosen` choices, in the order of experts; of equals the first is chosen.
  // `scratch`: as many floats as there are experts and groups.
  void choose(float* logits, Choice* choices, float* scratch) const;
};

}  // namespace tersor

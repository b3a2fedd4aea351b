// Lanes are steps: a value is rounded with up to sixteen scales at once, and the sum of each is one
// lane, so that a block may have any size and nothing is added across lanes.
#include "quantizing/range_search.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "vectors/power.hpp"
#include "vectors/any_width.hpp"

namespace tersor {
namespace {

// Sums of so many values are float, sums of those double: a row of a matrix may be one block.
constexpr std::size_t kRun = 64;
constexpr std::size_t kNarrow = 16;  // bytes of the narrowest vectors

struct Square {
  template <std::size_t kBytes>
  TERSOR_INLINE void raise(Vector<float, kBytes>& error) const {
    error *= error;
  }
};

struct FourthPower {
  template <std::size_t kBytes>
  TERSOR_INLINE void raise(Vector<float, kBytes>& error) const {
    error *= error;
    error *= error;
  }
};

struct AnyPower {
  float norm;
  template <std::size_t kBytes>
  TERSOR_INLINE void raise(Vector<float, kBytes>& error) const {
    power_vector<kBytes>(error, norm);
  }
};

// What the steps of one block need and sum up, padded to whole vectors.
struct Steps {
  std::size_t count;
  std::vector<float> scale, lowest;
  std::vector<double> losses;

  explicit Steps(std::size_t steps)
      : count(steps), scale(padded(steps), 1.0f), lowest(padded(steps)), losses(padded(steps)) {}

  static std::size_t padded(std::size_t steps) {
    constexpr std::size_t kLanes = kNarrow / sizeof(float);
    return (steps + kLanes - 1) / kLanes * kLanes;
  }
};

// Adds the losses of a run of a block to those of one vector of steps. Codes come as from
// IntegerGrid.encode, integers with ties to even; see round_vector in gptq.cpp for how.
template <std::size_t kBytes, typename Power>
TERSOR_INLINE inline void add_losses(const float* values, const float* importance, std::size_t count, float top,
                                     const Power& power, std::size_t first, Steps& steps) {
  constexpr float kShift = 12582912.0f;
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  using Floats = Vector<float, kBytes>;
  const Floats scale = at<kBytes>(steps.scale.data() + first);
  const Floats low = at<kBytes>(steps.lowest.data() + first), high = low + top;
  Floats sums = {};
  for (std::size_t i = 0; i < count; ++i) {
    const Floats exact = values[i] / scale;
    const Floats raised = exact > low ? exact : low;
    const Floats level = ((raised < high ? raised : high) + kShift) - kShift;
    Floats loss = level * scale - values[i];
    power.template raise<kBytes>(loss);
    sums += loss * importance[i];
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) steps.losses[first + lane] += sums[lane];
}

// The same for all steps from `first` on: the last few take narrower vectors.
template <std::size_t kBytes, typename Power>
TERSOR_INLINE inline void add_all_losses(const float* values, const float* importance, std::size_t count, float top,
                                         const Power& power, std::size_t first, Steps& steps) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  for (; first + kLanes <= steps.scale.size(); first += kLanes) {
    add_losses<kBytes>(values, importance, count, top, power, first, steps);
  }
  if constexpr (kBytes > kNarrow) {
    add_all_losses<kBytes / 2>(values, importance, count, top, power, first, steps);
  }
}

TERSOR_INLINE inline std::size_t first_smallest(const Steps& steps) {
  double smallest = std::numeric_limits<double>::infinity();
  std::size_t best = 0;
  for (std::size_t step = 0; step < steps.count; ++step) {
    if (steps.losses[step] < smallest) {
      smallest = steps.losses[step];
      best = step;
    }
  }
  return best;
}

template <std::size_t kBytes, typename Power>
TERSOR_INLINE inline void search_blocks(const RangeSearch& search, const Power& power, std::int64_t* best) {
  Steps steps(search.steps);
  if (search.one_lowest) std::fill(steps.lowest.begin(), steps.lowest.end(), *search.lowest);
  for (std::size_t index = 0; index < search.rows * search.groups; ++index) {
    const std::size_t row = index / search.groups, group = index % search.groups;
    const float* values = search.values.block(row, group);
    const float* importance = search.importance.block(row, group);
    std::copy_n(search.scale + index * search.steps, search.steps, steps.scale.begin());
    if (!search.one_lowest) {
      std::copy_n(search.lowest + index * search.steps, search.steps, steps.lowest.begin());
    }
    std::fill(steps.losses.begin(), steps.losses.end(), 0.0);
    for (std::size_t start = 0; start < search.size; start += kRun) {
      add_all_losses<kBytes>(values + start, importance + start,
                             std::min(kRun, search.size - start), search.top, power, 0, steps);
    }
    best[index] = static_cast<std::int64_t>(first_smallest(steps));
  }
}

template <typename Power>
void search_with(const RangeSearch& search, const Power& power, std::int64_t* best) {
  with_vectors([&](auto width) TERSOR_INLINE {
    search_blocks<width>(search, power, best);
  });
}

}  // namespace

void range_search(const RangeSearch& search, std::int64_t* best) {
  if (search.norm == 2.0f) return search_with(search, Square{}, best);
  if (search.norm == 4.0f) return search_with(search, FourthPower{}, best);
  search_with(search, AnyPower{search.norm}, best);
}

}  // namespace tersor

// Lanes are starts, as steps are in range_search.cpp: nothing is added across lanes.
#include "quantizing/best_lines.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "vectors/any_width.hpp"

namespace tersor {
namespace {

// So many values are summed before they are added to others.
constexpr std::size_t kRun = 64;
constexpr std::size_t kNarrow = 16;  // bytes of the narrowest vectors

// The starts of one block, and what they lead to; padded to whole vectors.
struct Starts {
  std::size_t count;
  std::vector<float> scale, minimum, loss;

  explicit Starts(std::size_t starts)
      : count(starts), scale(padded(starts), 1.0f), minimum(padded(starts)), loss(padded(starts)) {}

  static std::size_t padded(std::size_t starts) {
    constexpr std::size_t kLanes = kNarrow / sizeof(float);
    return (starts + kLanes - 1) / kLanes * kLanes;
  }
};

struct Block {
  const float* values;
  const float* importance;
  std::size_t size;
  float total, mean;  // of importance, and of importance * value
};

// Sums over a block with w, x and q for importance, value and code.
template <std::size_t kBytes>
struct Sums {
  using Floats = Vector<float, kBytes>;
  Floats loss = {}, product = {}, square = {}, first = {};  // w error^2, w q x, w q q, w q

  TERSOR_INLINE void add(const Sums& run) {
    loss += run.loss;
    product += run.product;
    square += run.square;
    first += run.first;
  }
};

// Codes are integers, ties to even; see round_vector in gptq.cpp for how.
template <std::size_t kBytes>
TERSOR_INLINE inline void sum_run(const LineStarts& given, const Block& block, std::size_t begin,
                                  const Vector<float, kBytes>& scale,
                                  const Vector<float, kBytes>& minimum, Sums<kBytes>& total) {
  constexpr float kShift = 12582912.0f;
  using Floats = Vector<float, kBytes>;
  const Floats low = Floats{} + given.lowest, high = Floats{} + given.highest;
  const Floats inverse = 1.0f / scale;
  const std::size_t end = std::min(block.size, begin + kRun);
  Sums<kBytes> sums;
  for (std::size_t i = begin; i < end; ++i) {
    const float value = block.values[i], weight = block.importance[i];
    const Floats shifted = value - minimum;
    const Floats exact = shifted * inverse;
    const Floats raised = exact > low ? exact : low;
    const Floats code = ((raised < high ? raised : high) + kShift) - kShift;
    const Floats error = shifted - code * scale;
    const Floats weighted = weight * code;
    sums.loss += weight * error * error;
    sums.product += weighted * value;
    sums.square += weighted * code;
    sums.first += weighted;
  }
  total.add(sums);
}

// The line that fits the codes best; where codes tell nothing, it stays what it was.
template <std::size_t kBytes>
TERSOR_INLINE inline void refit(const LineStarts& given, const Block& block,
                                const Sums<kBytes>& sums, Vector<float, kBytes>& scale,
                                Vector<float, kBytes>& minimum) {
  using Floats = Vector<float, kBytes>;
  const Floats zero = {}, one = zero + 1.0f;
  const Floats plain = sums.product / (sums.square > 0.0f ? sums.square : one);
  if (!given.has_minima) {
    const Floats fitted = sums.square > 0.0f ? plain : scale;
    scale = fitted != 0.0f ? fitted : scale;
    return;
  }
  const Floats products = block.total * sums.square;
  const Floats determinant = products - sums.first * sums.first;
  const auto sound = determinant > 1e-6f * products;
  const Floats divisor = sound ? determinant : one;
  Floats s = (block.total * sums.product - sums.first * block.mean) / divisor;
  Floats m = (sums.square * block.mean - sums.first * sums.product) / divisor;
  if (given.negative) {
    s = m > 0.0f ? plain : s;
    m = m > 0.0f ? zero : m;
  }
  const auto taken = sound & (s > 0.0f);
  scale = taken ? s : scale;
  minimum = taken ? m : minimum;
}

// One vector of starts: each lane gets the best of the lines on its way.
template <std::size_t kBytes>
TERSOR_INLINE inline void follow(const LineStarts& given, const Block& block, std::size_t first,
                                 Starts& starts) {
  using Floats = Vector<float, kBytes>;
  Floats& best_scale = at<kBytes>(starts.scale.data() + first);
  Floats& best_minimum = at<kBytes>(starts.minimum.data() + first);
  Floats scale = best_scale, minimum = best_minimum;
  Floats best = Floats{} + std::numeric_limits<float>::infinity();
  for (std::size_t left = given.rounds + 1; left-- > 0;) {
    Sums<kBytes> sums;
    for (std::size_t begin = 0; begin < block.size; begin += kRun) {
      sum_run<kBytes>(given, block, begin, scale, minimum, sums);
    }
    const auto better = sums.loss < best;
    best = better ? sums.loss : best;
    best_scale = better ? scale : best_scale;
    best_minimum = better ? minimum : best_minimum;
    if (left > 0) refit<kBytes>(given, block, sums, scale, minimum);
  }
  at<kBytes>(starts.loss.data() + first) = best;
}

// The same for all starts from `first` on: the last few take narrower vectors.
template <std::size_t kBytes>
TERSOR_INLINE inline void follow_all(const LineStarts& given, const Block& block,
                                     std::size_t first, Starts& starts) {
  constexpr std::size_t kLanes = kBytes / sizeof(float);
  for (; first + kLanes <= starts.scale.size(); first += kLanes) {
    follow<kBytes>(given, block, first, starts);
  }
  if constexpr (kBytes > kNarrow) follow_all<kBytes / 2>(given, block, first, starts);
}

TERSOR_INLINE inline Block block_of(const LineStarts& given, std::size_t row, std::size_t group) {
  Block block = {given.values.block(row, group), given.importance.block(row, group), given.size, 0.0f, 0.0f};
  double total = 0.0, mean = 0.0;
  for (std::size_t i = 0; i < given.size; ++i) {
    total += block.importance[i];
    mean += static_cast<double>(block.importance[i]) * block.values[i];
  }
  block.total = static_cast<float>(total);
  block.mean = static_cast<float>(mean);
  return block;
}

template <std::size_t kBytes>
TERSOR_INLINE inline void search_blocks(const LineStarts& given, const BestLines& best) {
  Starts starts(given.starts);
  for (std::size_t index = 0; index < given.rows * given.groups; ++index) {
    const Block block = block_of(given, index / given.groups, index % given.groups);
    std::copy_n(given.scale + index * given.starts, given.starts, starts.scale.begin());
    std::copy_n(given.minimum + index * given.starts, given.starts, starts.minimum.begin());
    follow_all<kBytes>(given, block, 0, starts);
    const auto end = starts.loss.begin() + static_cast<std::ptrdiff_t>(starts.count);
    const auto which = static_cast<std::size_t>(std::min_element(starts.loss.begin(), end) - starts.loss.begin());
    best.scale[index] = starts.scale[which];
    best.minimum[index] = starts.minimum[which];
    best.loss[index] = starts.loss[which];
    best.start[index] = static_cast<std::int64_t>(which);
  }
}

}  // namespace

void best_lines(const LineStarts& given, const BestLines& best) {
  with_vectors([&](auto width) TERSOR_INLINE { search_blocks<width>(given, best); });
}

}  // namespace tersor

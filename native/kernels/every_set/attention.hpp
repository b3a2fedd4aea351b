// Attention, span of positions after span of positions, with the softmax corrected on the way
// (https://arxiv.org/abs/2205.14135, algorithm 1); compiled anew for every level.
#pragma once

#include "kernels/every_set/attention_elements.hpp"
#include "kernels/every_set/elementwise.hpp"
#include "kernels/every_set/integer_attention.hpp"

namespace tersor {
namespace {

template <typename Elements>
struct Attention {
  static constexpr std::size_t kRows = Elements::kRows, kTogether = Elements::kTogether;
  // A few queries wait for memory, and the processor's own prefetching stops at every page.
  static constexpr bool kPrefetches = kRows < kAttentionRows;

  const KeysValues& cache;
  AttentionRow rows[kRows];
  float* outputs;  // (kRows, padded)
  float* scores;   // (kRows, kAttentionSpan)
  Elements elements;
  float tops[kRows], sums[kRows];

  // `scratch`: as attention_scratch says.
  Attention(const KeysValues& of, const AttentionRow* queries, float* scratch)
      : cache(of),
        outputs(scratch),
        scores(scratch + kAttentionRows * of.padded()),
        elements(of, queries) {
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = queries[r];
  }

  TERSOR_INLINE static constexpr float lowest() { return -__builtin_inff(); }

  void run(float cap) {
    const std::size_t padded = cache.padded();
    std::size_t first = rows[0].first, last = rows[0].last;
    for (std::size_t r = 0; r < kRows; ++r) {
      first = rows[r].first < first ? rows[r].first : first;
      last = rows[r].last > last ? rows[r].last : last;
      tops[r] = lowest();
      sums[r] = 0.0f;
    }
    for (std::size_t i = 0; i < kRows * padded; ++i) outputs[i] = 0.0f;
    for (std::size_t start = first / kAttentionSpan * kAttentionSpan; start < last;
         start += kAttentionSpan) {
      if (start >= cache.capacity) {
        start -= cache.capacity;
        last -= cache.capacity;
        for (std::size_t r = 0; r < kRows; ++r) rows[r].go_round(cache.capacity);
      }
      // Keys beyond the last that is seen need not be multiplied.
      const std::size_t vectors_of_keys = (last - start + kKeyLanes - 1) / kKeyLanes;
      if constexpr (kSumsTogether == 1) {
        for (std::size_t b = 0; b < vectors_of_keys && b < kAttentionSpan / kKeyLanes; ++b) {
          multiply_keys<1>(start, b);
        }
      } else {
        switch (vectors_of_keys) {
          case 1:
            multiply_keys<1>(start);
            break;
          case 2:
            multiply_keys<2>(start);
            break;
          case 3:
            multiply_keys<3>(start);
            break;
          default:
            multiply_keys<4>(start);
        }
      }
      if (cap > 0.0f) soft_cap(scores, kRows * kAttentionSpan, cap);
      for (std::size_t r = 0; r < kRows; ++r) weigh(r, start);
      elements.take_weights(scores);
      add_all_values(start);
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const float inverse = 1.0f / sums[r];
      for (std::size_t i = 0; i < cache.dimensions; ++i) {
        rows[r].output[i] = outputs[r * padded + i] * inverse;
      }
    }
  }

  // Scores of some vectors of keys of those from position `start` on.
  template <std::size_t kVectorsOfKeys>
  TERSOR_INLINE void multiply_keys(std::size_t start, std::size_t first = 0) {
    const std::size_t units = (cache.dimensions + kTogether - 1) / kTogether;
    Floats products[kRows][kVectorsOfKeys] = {};
    for (std::size_t d = 0; d < units; ++d) {
      typename Elements::Vector keys[kVectorsOfKeys];
      for (std::size_t b = 0; b < kVectorsOfKeys; ++b) {
        const std::size_t index = ((start / kKeyLanes + first + b) * units + d) * kKeyLanes;
        keys[b] = Elements::at(cache.keys, index);
        if (kPrefetches) Elements::prefetch(cache.keys, index + kAttentionSpan * units);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto query = elements.query(r, d);
        for (std::size_t b = 0; b < kVectorsOfKeys; ++b) {
          products[r][b] = Elements::added(products[r][b], keys[b], query);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t b = 0; b < kVectorsOfKeys; ++b) {
        const Floats found = elements.scored(products[r][b], start + (first + b) * kKeyLanes);
        put(scores + r * kAttentionSpan + (first + b) * kKeyLanes, found);
      }
    }
  }

  // Scores of a row to weights; what the row had found is scaled down if a larger score appears.
  TERSOR_INLINE void weigh(std::size_t r, std::size_t start) {
    float* const row = scores + r * kAttentionSpan;
    const std::size_t stop = start + kAttentionSpan;
    const std::size_t low = (rows[r].first > start ? rows[r].first : start) - start;
    const std::size_t high = (rows[r].last < stop ? rows[r].last : stop) - start;
    if (rows[r].last <= start || low >= high) {
      for (std::size_t i = 0; i < kAttentionSpan; ++i) row[i] = 0.0f;
      return;
    }
    for (std::size_t i = 0; i < low; ++i) row[i] = lowest();
    for (std::size_t i = high; i < kAttentionSpan; ++i) row[i] = lowest();
    Floats largest = loaded<Floats>(row);
    for (std::size_t b = 1; b < kAttentionSpan / kLanes; ++b) {
      const Floats other = loaded<Floats>(row + b * kLanes);
      largest = TERSOR_CHOOSE(other > largest, other, largest);
    }
    const float found = largest_of(largest);
    const float top = found > tops[r] ? found : tops[r];
    if (top != tops[r]) {
      const float factor = sums[r] == 0.0f ? 0.0f : exponential(all(tops[r] - top))[0];
      for (std::size_t i = 0; i < cache.padded(); ++i) outputs[r * cache.padded() + i] *= factor;
      sums[r] *= factor;
      tops[r] = top;
    }
    Floats sum = {};
    for (std::size_t b = 0; b < kAttentionSpan / kLanes; ++b) {
      const Floats score = loaded<Floats>(row + b * kLanes);
      const Floats exact = TERSOR_CHOOSE(score == lowest(), Floats{}, exponential(score - top));
      const Floats weight = Elements::kNarrow ? rounded_to_bfloat16(exact) : exact;
      sum += weight;
      put(row + b * kLanes, weight);
    }
    sums[r] += sum_of(sum);
  }

  // Positions that all rows see together, those before and after for each row: what a row does not see, be it NaN,
  // must not be multiplied by 0, and every row adds its own in their order, whatever others see.
  TERSOR_INLINE void add_all_values(std::size_t start) {
    const std::size_t stop = start + kAttentionSpan, padded = cache.padded();
    std::size_t from = start, to = stop;
    for (std::size_t r = 0; r < kRows; ++r) {
      from = rows[r].first > from ? rows[r].first : from;
      to = rows[r].last < to ? rows[r].last : to;
    }
    from = (from + kTogether - 1) / kTogether * kTogether;
    to = to / kTogether * kTogether;
    if (from >= to) from = to = stop;
    for (std::size_t r = 0; r < kRows; ++r) {
      const std::size_t first = rows[r].first > start ? rows[r].first : start;
      add_row(r, start, first, rows[r].last < from ? rows[r].last : from);
    }
    if (from < to) {
      std::size_t lane = 0;
      constexpr std::size_t kVectors = kSumsTogether;
      for (; lane + kVectors * kLanes <= padded; lane += kVectors * kLanes) {
        add_values<kVectors>(lane, start, from, to);
      }
      for (; lane < padded; lane += kLanes) add_values<1>(lane, start, from, to);
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      add_row(r, start, rows[r].first > to ? rows[r].first : to, rows[r].last < stop ? rows[r].last : stop);
    }
  }

  TERSOR_INLINE void add_row(std::size_t r, std::size_t start, std::size_t first, std::size_t last) {
    const std::size_t padded = cache.padded();
    for (std::size_t unit = first / kTogether; unit * kTogether < last; ++unit) {
      const auto weight = elements.weight(r, start, unit);
      for (std::size_t lane = 0; lane < padded; lane += kLanes) {
        float* const at = outputs + r * padded + lane;
        const auto value = Elements::at(cache.values, unit * padded + lane);
        put(at, Elements::added(loaded<Floats>(at), Elements::seen(value, unit, first, last), weight));
      }
    }
  }

  template <std::size_t kVectors>
  TERSOR_INLINE void add_values(std::size_t lane, std::size_t start, std::size_t begin, std::size_t end) {
    const std::size_t padded = cache.padded();
    Floats found[kRows][kVectors];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        found[r][v] = loaded<Floats>(outputs + r * padded + lane + v * kLanes);
      }
    }
    for (std::size_t unit = begin / kTogether; unit < end / kTogether; ++unit) {
      typename Elements::Vector values[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t index = unit * padded + lane + v * kLanes;
        values[v] = Elements::at(cache.values, index);
        if (kPrefetches) {
          Elements::prefetch(cache.values, index + kAttentionSpan / kTogether * padded);
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto weight = elements.weight(r, start, unit);
        for (std::size_t v = 0; v < kVectors; ++v) {
          found[r][v] = Elements::added(found[r][v], values[v], weight);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        put(outputs + r * padded + lane + v * kLanes, found[r][v]);
      }
    }
  }
};

template <std::size_t kRows>
using Float32Attention = Attention<Float32Elements<kRows>>;
template <std::size_t kRows>
using Float16Attention = Attention<Float16Elements<kRows>>;
template <std::size_t kRows>
using PairAttention = Attention<PairElements<kRows>>;
template <std::size_t kRows>
using Int8Attention = Attention<Int8Elements<kRows>>;

template <template <std::size_t> typename Attending>
void attend_by(const KeysValues& cache, const AttentionRow* rows, std::size_t count, float cap,
                      float* scratch) {
  std::size_t r = 0;
  for (; r + 4 <= count; r += 4) Attending<4>(cache, rows + r, scratch).run(cap);
  switch (count - r) {
    case 3:
      return Attending<3>(cache, rows + r, scratch).run(cap);
    case 2:
      return Attending<2>(cache, rows + r, scratch).run(cap);
    case 1:
      return Attending<1>(cache, rows + r, scratch).run(cap);
  }
}

void attend(const KeysValues& cache, const AttentionRow* rows, std::size_t count, float cap,
                   float* scratch) {
  const auto run = cache.storage == Storage::float32    ? attend_by<Float32Attention>
                   : cache.storage == Storage::float16  ? attend_by<Float16Attention>
                   : cache.storage == Storage::bfloat16 ? attend_by<PairAttention>
                   : cache.storage == Storage::int16    ? attend_by<IntegerAttention>
                                                        : attend_by<Int8Attention>;
  run(cache, rows, count, cap, scratch);
}

// One vector of 16 elements at `index`, `count` of them given.
TERSOR_INLINE inline void store_vector(Storage storage, void* to, std::size_t index, std::size_t step, Floats values,
                                       std::size_t count) {
  if (storage == Storage::float16) {
    const Halves halves = to_float16(values);
    std::uint16_t lanes[kLanes];
    put(lanes, halves);
    std::uint16_t* const at = static_cast<std::uint16_t*>(to) + index;
    for (std::size_t i = 0; i < count; ++i) at[i * step] = lanes[i];
    return;
  }
  float lanes[kLanes];
  put(lanes, values);
  if (storage == Storage::float32) {
    float* const at = static_cast<float*>(to) + index;
    for (std::size_t i = 0; i < count; ++i) at[i * step] = lanes[i];
    return;
  }
  std::int8_t* const at = static_cast<std::int8_t*>(to) + index;
  for (std::size_t i = 0; i < count; ++i) {
    const float level = (lanes[i] + kRounding) - kRounding;
    at[i * step] = level >= -127.0f && level <= 127.0f ? static_cast<std::int8_t>(level) : 0;
  }
}

// The power of two that brings a vector with that largest magnitude into what float16 holds; 1 where it is.
TERSOR_INLINE inline float float16_scale(float largest) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &largest, sizeof bits);
  const int exponent = static_cast<int>(bits >> 23 & 255u) - 127;
  const bool is_number = exponent > -127 && exponent < 128, is_large = largest >= 65520.0f;
  if (!is_number || (exponent >= -14 && !is_large)) return 1.0f;
  const int wanted = is_large ? exponent - 14 : exponent;
  const std::uint32_t power = static_cast<std::uint32_t>(wanted + 127) << 23;
  float scale;
  __builtin_memcpy(&scale, &power, sizeof scale);
  return scale;
}

void store(const KeysValues& cache, std::size_t position, const float* key,
                  const float* value) {
  if (cache.storage == Storage::bfloat16) return store_pairs(cache, position, key, value);
  if (cache.storage == Storage::int16) return store_codes(cache, position, key, value);
  float key_factor = 1.0f, value_factor = 1.0f;
  if (cache.storage == Storage::float16) {
    const float key_scale = float16_scale(largest_magnitude(key, cache.dimensions));
    const float value_scale = float16_scale(largest_magnitude(value, cache.dimensions));
    cache.key_scales[position] = key_scale;
    cache.value_scales[position] = value_scale;
    key_factor = 1.0f / key_scale;
    value_factor = 1.0f / value_scale;
  }
  if (cache.storage == Storage::int8) {
    // A vector that is not finite has a scale that is not.
    const float key_scale = largest_magnitude(key, cache.dimensions) / 127.0f;
    const float value_scale = largest_magnitude(value, cache.dimensions) / 127.0f;
    cache.key_scales[position] = key_scale;
    cache.value_scales[position] = value_scale;
    key_factor = key_scale > 0.0f ? 1.0f / key_scale : 0.0f;
    value_factor = value_scale > 0.0f ? 1.0f / value_scale : 0.0f;
  }
  const std::size_t size = cache.dimensions;
  for (std::size_t d = 0; d < size; d += kLanes) {
    const std::size_t count = size - d < kLanes ? size - d : kLanes;
    store_vector(cache.storage, cache.keys,
                 (position / kKeyLanes * size + d) * kKeyLanes + position % kKeyLanes, kKeyLanes,
                 loaded_some(key + d, count) * key_factor, count);
    store_vector(cache.storage, cache.values, position * cache.padded() + d, 1,
                 loaded_some(value + d, count) * value_factor, count);
  }
}

}  // namespace
}  // namespace tersor

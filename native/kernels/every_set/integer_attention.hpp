// Attention to keys and values of 16-bit integers; queries and weights become such integers too. Their products are
// summed exactly in int32: no sum of products of two vectors is larger than the product of their lengths, and
// weights and values are small enough for the positions of a span. AVX-512 VNNI multiplies twice as many at a time as
// floats, on some processors four times as many as bfloat16, and less is lost than with that.
#pragma once

#include "kernels/every_set/attention_elements.hpp"
#include "kernels/every_set/elementwise.hpp"

namespace tersor {
namespace {

// Lengths of keys and queries, and the largest value and weight, as codes.
constexpr float kCodeLength = 32000.0f, kLargestValue = 4095.0f, kLargestWeight = 8191.0f;
static_assert(kAttentionSpan * kLargestValue * kLargestWeight < 2147483648.0f);
static_assert((kCodeLength + 12) * (kCodeLength + 12) < 2147483648.0f && kMostDimensions <= 512);

TERSOR_INLINE inline Halves codes_of(Floats levels) { return halves_of(bits_of_rounded(levels)); }

float sum_of_squares(const float* x, std::size_t size, float factor) {
  Floats squares = {};
  for (std::size_t i = 0; i < size; i += kLanes) {
    const Floats part = loaded_some(x + i, size - i) * factor;
    squares += part * part;
  }
  return sum_of(squares);
}

// The length of a vector; not finite if it is not, and 0 if it is next to nothing.
float length_of(const float* x, std::size_t size) {
  const float sum = sum_of_squares(x, size, 1.0f);
  if (sum > 1e-20f && sum < 1e30f) return __builtin_sqrtf(sum);
  // Squares may be too large or too small for floats.
  const float top = largest_magnitude(x, size);
  if (top < 1e-30f) return 0.0f;
  return top * __builtin_sqrtf(sum_of_squares(x, size, 1.0f / top));
}

float inverse_of(float scale) { return scale > 0.0f && scale < __builtin_inff() ? 1.0f / scale : 0.0f; }

void store_codes(const KeysValues& cache, std::size_t position, const float* key, const float* value) {
  const std::size_t size = cache.dimensions;
  const float key_scale = length_of(key, size) / kCodeLength;
  const float value_scale = largest_magnitude(value, size) / kLargestValue;
  cache.key_scales[position] = key_scale;
  cache.value_scales[position] = value_scale;
  const float key_factor = inverse_of(key_scale), value_factor = inverse_of(value_scale);
  for (std::size_t d = 0; d < size; d += kLanes) {
    const std::size_t left = size - d, count = left < kLanes ? left : kLanes;
    std::uint16_t key_lanes[kLanes], value_lanes[kLanes];
    put(key_lanes, codes_of(loaded_some(key + d, count) * key_factor));
    put(value_lanes, codes_of(loaded_some(value + d, count) * value_factor));
    store_in_pairs(cache, position, d, count, key_lanes, value_lanes);
  }
}

template <std::size_t kRows>
struct IntegerAttention {
  // As with floats.
  static constexpr bool kPrefetches = kRows < kAttentionRows;

  const KeysValues& cache;
  AttentionRow rows[kRows];
  float* outputs;  // (kRows, padded)
  float* scores;   // (kRows, kAttentionSpan)
  std::uint32_t queries[kRows][kMostDimensions / 2], weights[kRows][kAttentionSpan / 2];
  float query_scales[kRows], tops[kRows];
  float factors[kRows];  // what a code of a weight is worth
  Floats sums[kRows];

  // `scratch`: as attention_scratch says.
  IntegerAttention(const KeysValues& of, const AttentionRow* some, float* scratch)
      : cache(of), outputs(scratch), scores(scratch + kAttentionRows * of.padded()) {
    for (std::size_t r = 0; r < kRows; ++r) {
      rows[r] = some[r];
      const float* const query = rows[r].query;
      query_scales[r] = length_of(query, of.dimensions) / kCodeLength;
      const float factor = inverse_of(query_scales[r]);
      for (std::size_t d = 0; d < of.dimensions; d += kLanes) {
        put(queries[r] + d / 2, codes_of(loaded_some(query + d, of.dimensions - d) * factor));
      }
    }
  }

  TERSOR_INLINE static constexpr float lowest() { return -__builtin_inff(); }

  void run(float cap) {
    std::size_t first = rows[0].first, last = rows[0].last;
    for (std::size_t r = 0; r < kRows; ++r) {
      first = rows[r].first < first ? rows[r].first : first;
      last = rows[r].last > last ? rows[r].last : last;
      tops[r] = -3e38f;
      sums[r] = Floats{};
    }
    for (std::size_t i = 0; i < kRows * cache.padded(); ++i) outputs[i] = 0.0f;
    for (std::size_t start = first / kAttentionSpan * kAttentionSpan; start < last; start += kAttentionSpan) {
      if (start >= cache.capacity) {
        start -= cache.capacity;
        last -= cache.capacity;
        for (std::size_t r = 0; r < kRows; ++r) rows[r].go_round(cache.capacity);
      }
      const std::size_t count = last - start < kAttentionSpan ? last - start : kAttentionSpan;
      multiply_all_keys(start, (count + kKeyLanes - 1) / kKeyLanes);
      if (cap > 0.0f) soft_cap(scores, kRows * kAttentionSpan, cap);
      weigh(start);
      add_all_values(start, count);
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const float inverse = 1.0f / sum_of(sums[r]);
      for (std::size_t i = 0; i < cache.dimensions; ++i) {
        rows[r].output[i] = outputs[r * cache.padded() + i] * inverse;
      }
    }
  }

  TERSOR_INLINE void multiply_all_keys(std::size_t start, std::size_t vectors_of_keys) {
    if constexpr (kSumsTogether == 1) {
      for (std::size_t b = 0; b < vectors_of_keys; ++b) multiply_keys<1>(start, b);
    } else if (vectors_of_keys <= 2) {
      multiply_keys<2>(start, 0);
    } else {
      multiply_keys<4>(start, 0);
    }
  }

  // Scores of kVectorsOfKeys vectors of keys from the vector `first` on of those from position `start` on.
  template <std::size_t kVectorsOfKeys>
  TERSOR_INLINE void multiply_keys(std::size_t start, std::size_t first) {
    const std::size_t pairs = cache.key_pairs();
    const std::uint32_t* keys =
        static_cast<const std::uint32_t*>(cache.keys) + (start / kKeyLanes + first) * pairs * kKeyLanes;
    Ints products[kRows][kVectorsOfKeys] = {};
    for (std::size_t d = 0; d < pairs; ++d, keys += kKeyLanes) {
      Words some[kVectorsOfKeys];
      for (std::size_t b = 0; b < kVectorsOfKeys; ++b) {
        some[b] = loaded<Words>(keys + b * pairs * kKeyLanes);
        TERSOR_KEEP(some[b]);
        if (kPrefetches) __builtin_prefetch(keys + (b + kAttentionSpan / kKeyLanes) * pairs * kKeyLanes);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const Words query = Words{} + queries[r][d];
        for (std::size_t b = 0; b < kVectorsOfKeys; ++b) products[r][b] = with_products(products[r][b], some[b], query);
      }
    }
    for (std::size_t b = 0; b < kVectorsOfKeys; ++b) {
      const Floats scales = loaded<Floats>(cache.key_scales + start + (first + b) * kKeyLanes);
      for (std::size_t r = 0; r < kRows; ++r) {
        const Floats found = floats_of(products[r][b]) * (scales * query_scales[r]);
        put(scores + r * kAttentionSpan + (first + b) * kKeyLanes, found);
      }
    }
  }

  // Scores to codes of weights times scales of values, and what such a code is worth. Every step for all rows before
  // the next, because most of a step is waiting.
  TERSOR_INLINE void weigh(std::size_t start) {
    Floats highest[kRows];
    for (std::size_t r = 0; r < kRows; ++r) highest[r] = highest_of(r, start);
    for (std::size_t r = 0; r < kRows; ++r) {
      // A little more than 1 is no harm to weights, and a top that stays needs no step.
      if (is_any_above(highest[r], tops[r] + 8.0f)) raise_top(r, largest_of(highest[r]));
    }
    Ints largest[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      const bool whole = rows[r].first <= start && rows[r].last >= start + kAttentionSpan;
      largest[r] = whole ? weigh_row<true>(r, start) : weigh_row<false>(r, start);
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const float worth = same_bits<float>(largest_of(largest[r]));
      factors[r] = worth / kLargestWeight;
      const float factor = worth < 1e-30f ? 0.0f : kLargestWeight / worth;
      for (std::size_t b = 0; b < kAttentionSpan / kLanes; ++b) {
        const Floats weight = loaded<Floats>(scores + r * kAttentionSpan + b * kLanes);
        put(weights[r] + b * kLanes / 2, codes_of(weight * factor));
      }
    }
  }

  // What a row had found is scaled down.
  TERSOR_INLINE void raise_top(std::size_t r, float top) {
    const float factor = exponential(all(tops[r] - top))[0];
    for (std::size_t i = 0; i < cache.padded(); ++i) outputs[r * cache.padded() + i] *= factor;
    sums[r] = sums[r] * factor;
    tops[r] = top;
  }

  // Scores that are not seen become the lowest. The largest of some that include the highest.
  TERSOR_INLINE Floats highest_of(std::size_t r, std::size_t start) {
    float* const row = scores + r * kAttentionSpan;
    const std::size_t stop = start + kAttentionSpan;
    const std::size_t low = rows[r].first > start ? rows[r].first - start : 0;
    const std::size_t high = rows[r].last < stop ? (rows[r].last > start ? rows[r].last - start : 0) : kAttentionSpan;
    for (std::size_t i = 0; i < low && i < kAttentionSpan; ++i) row[i] = lowest();
    for (std::size_t i = high; i < kAttentionSpan; ++i) row[i] = lowest();
    Floats highest = loaded<Floats>(row);
    for (std::size_t b = 1; b < kAttentionSpan / kLanes; ++b) {
      highest = larger(highest, loaded<Floats>(row + b * kLanes));
    }
    return highest;
  }

  // Scores of a row to weights times scales of values, and the largest of these; NaN is larger than all.
  template <bool kWhole>
  TERSOR_INLINE Ints weigh_row(std::size_t r, std::size_t start) {
    Ints largest = {};
    for (std::size_t b = 0; b < kAttentionSpan / kLanes; ++b) {
      float* const at = scores + r * kAttentionSpan + b * kLanes;
      const Floats score = loaded<Floats>(at);
      Floats weight = exponential(score - tops[r]);
      if (!kWhole) weight = TERSOR_CHOOSE(score == lowest(), Floats{}, weight);
      sums[r] += weight;
      Floats scaled = weight * loaded<Floats>(cache.value_scales + start + b * kLanes);
      if (!kWhole) scaled = TERSOR_CHOOSE(score == lowest(), Floats{}, scaled);
      largest = larger(largest, same_bits<Ints>(scaled));
      put(at, scaled);
    }
    return largest;
  }

  // What a row does not see has weight 0.
  TERSOR_INLINE void add_all_values(std::size_t start, std::size_t count) {
    const std::size_t padded = cache.padded();
    constexpr std::size_t kVectors = kSumsTogether;
    std::size_t lane = 0;
    for (; lane + kVectors * kLanes <= padded; lane += kVectors * kLanes) add_values<kVectors>(lane, start, count);
    for (; lane < padded; lane += kLanes) add_values<1>(lane, start, count);
  }

  template <std::size_t kVectors>
  TERSOR_INLINE void add_values(std::size_t lane, std::size_t start, std::size_t count) {
    const std::size_t padded = cache.padded();
    const std::uint32_t* values = static_cast<const std::uint32_t*>(cache.values) + start / 2 * padded + lane;
    Ints found[kRows][kVectors] = {};
    for (std::size_t pair = 0; pair < (count + 1) / 2; ++pair, values += padded) {
      Words some[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) {
        some[v] = loaded<Words>(values + v * kLanes);
        TERSOR_KEEP(some[v]);
        if (kPrefetches) __builtin_prefetch(values + v * kLanes + kAttentionSpan / 2 * padded);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const Words weight = Words{} + weights[r][pair];
        for (std::size_t v = 0; v < kVectors; ++v) found[r][v] = with_products(found[r][v], some[v], weight);
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        float* const at = outputs + r * padded + lane + v * kLanes;
        put(at, loaded<Floats>(at) + floats_of(found[r][v]) * factors[r]);
      }
    }
  }
};

}  // namespace
}  // namespace tersor

// What attention multiplies: single floats, stored in one way or another, or pairs of bfloat16. A unit is what
// one lane holds: one dimension of a key or one position of a value, or two neighbouring ones.
#pragma once

#include "kernels/keys_values.hpp"
#include "vectors/float16.hpp"

namespace tersor {
namespace {

template <Storage kStorage, std::size_t kCount>
struct SingleElements {
  typedef Floats Vector;
  static constexpr std::size_t kRows = kCount, kTogether = 1;
  static constexpr bool kNarrow = false, kScaled = has_scales(kStorage);

  const KeysValues& cache;
  const AttentionRow* rows;
  const float* scores = nullptr;

  SingleElements(const KeysValues& of, const AttentionRow* queries) : cache(of), rows(queries) {}

  TERSOR_INLINE static Vector at(const void* from, std::size_t index) {
    if (kStorage == Storage::float32) return loaded<Floats>(static_cast<const float*>(from) + index);
    if (kStorage == Storage::float16) {
      return from_float16(loaded<Halves>(static_cast<const std::uint16_t*>(from) + index));
    }
    return from_int8(loaded<Bytes>(static_cast<const std::int8_t*>(from) + index));
  }

  TERSOR_INLINE static void prefetch(const void* from, std::size_t index) {
    __builtin_prefetch(static_cast<const char*>(from) + index * storage_bytes(kStorage));
  }

  TERSOR_INLINE static Floats added(Floats sums, Vector vector, float factor) {
    return sums + vector * factor;
  }

  TERSOR_INLINE static Vector seen(Vector value, std::size_t, std::size_t, std::size_t) { return value; }

  void take_weights(const float* found) { scores = found; }

  float query(std::size_t r, std::size_t d) const { return rows[r].query[d]; }

  float weight(std::size_t r, std::size_t start, std::size_t position) const {
    const float found = scores[r * kAttentionSpan + position - start];
    return kScaled ? found * cache.value_scales[position] : found;
  }

  Floats scored(Floats products, std::size_t position) const {
    if (!kScaled) return products;
    return products * loaded<Floats>(cache.key_scales + position);
  }
};

template <std::size_t kRows>
using Float32Elements = SingleElements<Storage::float32, kRows>;
template <std::size_t kRows>
using Float16Elements = SingleElements<Storage::float16, kRows>;
template <std::size_t kRows>
using Int8Elements = SingleElements<Storage::int8, kRows>;

// Elements of 16 pairs: the even ones in the low halves of words.
TERSOR_INLINE inline Floats with_pair_products(Floats sums, Words pairs, Words others) {
#if defined(__AVX512BF16__)
  return same_bits<Floats>(_mm512_dpbf16_ps(same_bits<__m512>(sums), same_bits<__m512bh>(pairs),
                                            same_bits<__m512bh>(others)));
#else
  const Words high = Words{} + 0xffff0000u;
  sums += same_bits<Floats>(pairs & high) * same_bits<Floats>(others & high);
  return sums + same_bits<Floats>(pairs << 16) * same_bits<Floats>(others << 16);
#endif
}

// The same of 16 pairs of integers.
#if defined(__AVX512BW__) && defined(__AVX512VNNI__)

TERSOR_INLINE inline Ints with_products(Ints sums, Words pairs, Words others) {
  return same_bits<Ints>(_mm512_dpwssd_epi32(same_bits<__m512i>(sums), same_bits<__m512i>(pairs),
                                             same_bits<__m512i>(others)));
}

#elif defined(__AVX2__)

TERSOR_INLINE inline __m256i with_products_of_eight(__m256i sums, __m256i pairs, __m256i others) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return _mm256_dpwssd_epi32(sums, pairs, others);
#elif defined(__AVXVNNI__)
  return _mm256_dpwssd_avx_epi32(sums, pairs, others);
#else
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, others));
#endif
}

TERSOR_INLINE inline Ints with_products(Ints sums, Words pairs, Words others) {
  __m256i halves[2], left[2], right[2];
  put(halves, sums);
  put(left, pairs);
  put(right, others);
  for (std::size_t i = 0; i < 2; ++i) halves[i] = with_products_of_eight(halves[i], left[i], right[i]);
  return loaded<Ints>(halves);
}

#elif defined(TERSOR_NEON)

TERSOR_INLINE inline Ints with_products(const Ints& sums, const Words& pairs, const Words& others) {
  Ints result;
  for (std::size_t i = 0; i < 4; ++i) {
    const int16x8_t left = vreinterpretq_s16_u32(pairs.parts[i]), right = vreinterpretq_s16_u32(others.parts[i]);
    const int32x4_t low = vmull_s16(vget_low_s16(left), vget_low_s16(right));
    result.parts[i] = vaddq_s32(sums.parts[i], vpaddq_s32(low, vmull_high_s16(left, right)));
  }
  return result;
}

#else

TERSOR_INLINE inline Ints with_products(Ints sums, Words pairs, Words others) {
  const Ints left = same_bits<Ints>(pairs), right = same_bits<Ints>(others);
  return sums + (left >> 16) * (right >> 16) + (left << 16 >> 16) * (right << 16 >> 16);
}

#endif

// Floats of two neighbouring vectors, rounded to bfloat16 already, as pairs of neighbours.
TERSOR_INLINE inline Words pairs_of(Floats first, Floats second) {
#if defined(TERSOR_NEON)
  Words pairs;
  for (std::size_t i = 0; i < 4; ++i) {
    const Floats& from = i < 2 ? first : second;
    pairs.parts[i] = vreinterpretq_u32_u16(vuzp2q_u16(vreinterpretq_u16_f32(from.parts[2 * i % 4]),
                                                      vreinterpretq_u16_f32(from.parts[2 * i % 4 + 1])));
  }
  return pairs;
#else
  const Ints even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  const Words low = same_bits<Words>(__builtin_shuffle(first, second, even));
  const Words high = same_bits<Words>(__builtin_shuffle(first, second, even + 1));
  return low >> 16 | (high & 0xffff0000u);
#endif
}

// Keys: (capacity / kKeyLanes, pairs of dimensions, kKeyLanes) words. Values: (capacity / 2, padded) words of
// pairs of positions. Queries and weights are rounded to bfloat16 as well.
template <std::size_t kCount>
struct PairElements {
  typedef Words Vector;
  static constexpr std::size_t kRows = kCount, kTogether = 2;
  static constexpr bool kNarrow = true;

  std::uint32_t queries[kRows][kMostDimensions / 2];
  std::uint32_t weights[kRows][kAttentionSpan / 2];

  PairElements(const KeysValues& cache, const AttentionRow* rows) {
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t d = 0; d < cache.dimensions; d += 2 * kLanes) {
        const float* const from = rows[r].query + d;
        const std::size_t left = cache.dimensions - d;
        const Floats second = left > kLanes ? loaded_some(from + kLanes, left - kLanes) : Floats{};
        put(queries[r] + d / 2, pairs_of(rounded_to_bfloat16(loaded_some(from, left)),
                                         rounded_to_bfloat16(second)));
      }
    }
  }

  TERSOR_INLINE static Vector at(const void* from, std::size_t index) {
    return loaded<Words>(static_cast<const std::uint32_t*>(from) + index);
  }

  TERSOR_INLINE static void prefetch(const void* from, std::size_t index) {
    __builtin_prefetch(static_cast<const std::uint32_t*>(from) + index);
  }

  TERSOR_INLINE static Floats added(Floats sums, Vector pairs, std::uint32_t factors) {
    return with_pair_products(sums, pairs, Words{} + factors);
  }

  // Of a pair of which a row sees one position, from `first` to `last`, the other becomes 0.
  TERSOR_INLINE static Vector seen(Vector pairs, std::size_t pair, std::size_t first, std::size_t last) {
    const std::uint32_t even = 2 * pair >= first ? 0xffffu : 0u;
    const std::uint32_t odd = 2 * pair + 1 < last ? 0xffff0000u : 0u;
    return pairs & (even | odd);
  }

  void take_weights(const float* scores) {
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* const row = scores + r * kAttentionSpan;
      for (std::size_t i = 0; i < kAttentionSpan; i += 2 * kLanes) {
        put(weights[r] + i / 2, pairs_of(loaded<Floats>(row + i), loaded<Floats>(row + i + kLanes)));
      }
    }
  }

  std::uint32_t query(std::size_t r, std::size_t d) const { return queries[r][d]; }

  std::uint32_t weight(std::size_t r, std::size_t start, std::size_t pair) const {
    return weights[r][pair - start / 2];
  }

  Floats scored(Floats products, std::size_t) const { return products; }
};

// Elements of some dimensions from `first` on of a key and a value, in pairs.
TERSOR_INLINE inline void store_in_pairs(const KeysValues& cache, std::size_t position, std::size_t first,
                                         std::size_t count, const std::uint16_t* key, const std::uint16_t* value) {
  std::uint16_t* const keys = static_cast<std::uint16_t*>(cache.keys);
  std::uint16_t* const values = static_cast<std::uint16_t*>(cache.values);
  const std::size_t before = position / kKeyLanes * cache.key_pairs();
  const std::size_t row = position / 2 * cache.padded();
  // What a key lacks of its last pair is 0.
  for (std::size_t i = 0; i < count; i += 2) {
    const std::size_t word = (before + (first + i) / 2) * kKeyLanes + position % kKeyLanes;
    __builtin_memcpy(keys + 2 * word, key + i, 2 * sizeof *key);
  }
  for (std::size_t i = 0; i < count; ++i) values[2 * (row + first + i) + position % 2] = value[i];
}

void store_pairs(const KeysValues& cache, std::size_t position, const float* key,
                        const float* value) {
  for (std::size_t d = 0; d < cache.dimensions; d += kLanes) {
    const std::size_t left = cache.dimensions - d, count = left < kLanes ? left : kLanes;
    std::uint16_t key_lanes[kLanes], value_lanes[kLanes];
    put(key_lanes, high_halves(rounded_to_bfloat16(loaded_some(key + d, count))));
    put(value_lanes, high_halves(rounded_to_bfloat16(loaded_some(value + d, count))));
    store_in_pairs(cache, position, d, count, key_lanes, value_lanes);
  }
}

}  // namespace
}  // namespace tersor

// Attention on bfloat16: pairs of products are added up in float32, which some processors do in one step.

// Elements of 16 pairs: the even ones in the low halves of words.
TERSOR_FORCED Floats with_pair_products(Floats sums, Words pairs, Words others) {
#if defined(__AVX512BF16__)
  return same_bits<Floats>(_mm512_dpbf16_ps(same_bits<__m512>(sums), same_bits<__m512bh>(pairs),
                                            same_bits<__m512bh>(others)));
#else
  const Words high = Words{} + 0xffff0000u;
  sums += same_bits<Floats>(pairs & high) * same_bits<Floats>(others & high);
  return sums + same_bits<Floats>(pairs << 16) * same_bits<Floats>(others << 16);
#endif
}

// Floats of two neighbouring vectors, rounded to bfloat16 already, as pairs of neighbours.
TERSOR_FORCED Words pairs_of(Floats first, Floats second) {
  const Ints even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  const Words low = same_bits<Words>(__builtin_shuffle(first, second, even));
  const Words high = same_bits<Words>(__builtin_shuffle(first, second, even + 1));
  return low >> 16 | (high & 0xffff0000u);
}

// Keys: (capacity / kKeyBlock, pairs of dimensions, kKeyBlock) words. Values: (capacity / 2, padded) words of
// pairs of positions.
template <std::size_t kRows>
struct PairAttention : AttentionState<kRows, true> {
  using State = AttentionState<kRows, true>;
  using State::cache, State::rows, State::outputs, State::scores;

  static constexpr std::size_t kWeights = kAttentionBlock / 2;  // pairs of a block

  std::uint32_t weights[kRows][kWeights];
  std::uint32_t queries[kRows][kMostDimensions / 2];

  explicit PairAttention(const State& state) : State(state) {}

  void run(float cap) {
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t d = 0; d < cache.dimensions; d += 2 * kLanes) {
        const float* const query = rows[r].query + d;
        const std::size_t left = cache.dimensions - d;
        const Floats second = left > kLanes ? loaded_some(query + kLanes, left - kLanes) : Floats{};
        put(queries[r] + d / 2, pairs_of(rounded_to_bfloat16(loaded_some(query, left)),
                                         rounded_to_bfloat16(second)));
      }
    }
    run_attention(*this, cap);
  }

  const std::uint32_t* keys_at(std::size_t block) const {
    return static_cast<const std::uint32_t*>(cache.keys) + block * cache.key_pairs() * kKeyBlock;
  }

  const std::uint32_t* values_at(std::size_t pair) const {
    return static_cast<const std::uint32_t*>(cache.values) + pair * cache.padded();
  }

  template <std::size_t kBlocks>
  inline __attribute__((always_inline)) void multiply_keys(std::size_t start) {
    Floats products[kRows][kBlocks] = {};
    for (std::size_t d = 0; d < cache.key_pairs(); ++d) {
      Words keys[kBlocks];
      for (std::size_t b = 0; b < kBlocks; ++b) {
        keys[b] = loaded<Words>(keys_at(start / kKeyBlock + b) + d * kKeyBlock);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const Words query = Words{} + queries[r][d];
        for (std::size_t b = 0; b < kBlocks; ++b) {
          products[r][b] = with_pair_products(products[r][b], keys[b], query);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t b = 0; b < kBlocks; ++b) {
        put(scores + r * kAttentionBlock + b * kKeyBlock, products[r][b]);
      }
    }
  }

  // Pairs of positions that all rows see together, others for each row.
  inline __attribute__((always_inline)) void add_all_values(std::size_t start) {
    const std::size_t stop = start + kAttentionBlock, padded = cache.padded();
    std::size_t from = start, to = stop;
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* const row = scores + r * kAttentionBlock;
      for (std::size_t i = 0; i < kAttentionBlock; i += 2 * kLanes) {
        put(weights[r] + i / 2, pairs_of(loaded<Floats>(row + i), loaded<Floats>(row + i + kLanes)));
      }
      from = rows[r].first > from ? rows[r].first : from;
      to = rows[r].last < to ? rows[r].last : to;
    }
    from = (from + 1) / 2 * 2;
    to = to / 2 * 2;
    if (from < to) {
      std::size_t lane = 0;
      for (; lane + 4 * kLanes <= padded; lane += 4 * kLanes) add_values<4>(lane, start, from, to);
      for (; lane < padded; lane += kLanes) add_values<1>(lane, start, from, to);
    } else {
      from = to = stop;
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const std::size_t first = rows[r].first > start ? rows[r].first : start;
      const std::size_t last = rows[r].last < stop ? rows[r].last : stop;
      add_row(r, start, first, last < from ? last : from);
      add_row(r, start, first > to ? first : to, last);
    }
  }

  // Of a pair that is seen by half, the other half becomes 0.
  inline __attribute__((always_inline)) void add_row(std::size_t r, std::size_t start,
                                                     std::size_t first, std::size_t last) {
    const std::size_t padded = cache.padded();
    for (std::size_t pair = first / 2; 2 * pair < last; ++pair) {
      const std::uint32_t even = 2 * pair >= first ? 0xffffu : 0u;
      const std::uint32_t odd = 2 * pair + 1 < last ? 0xffff0000u : 0u;
      const Words weight = Words{} + weights[r][pair - start / 2];
      for (std::size_t lane = 0; lane < padded; lane += kLanes) {
        float* const at = outputs + r * padded + lane;
        const Words seen = loaded<Words>(values_at(pair) + lane) & (even | odd);
        put(at, with_pair_products(loaded<Floats>(at), seen, weight));
      }
    }
  }

  template <std::size_t kVectors>
  inline __attribute__((always_inline)) void add_values(std::size_t lane, std::size_t start,
                                                        std::size_t begin, std::size_t end) {
    const std::size_t padded = cache.padded();
    Floats found[kRows][kVectors];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        found[r][v] = loaded<Floats>(outputs + r * padded + lane + v * kLanes);
      }
    }
    for (std::size_t pair = begin / 2; pair < end / 2; ++pair) {
      Words values[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) {
        values[v] = loaded<Words>(values_at(pair) + lane + v * kLanes);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const Words weight = Words{} + weights[r][pair - start / 2];
        for (std::size_t v = 0; v < kVectors; ++v) {
          found[r][v] = with_pair_products(found[r][v], values[v], weight);
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

static void store_pairs(const KeysValues& cache, std::size_t position, const float* key,
                        const float* value) {
  std::uint16_t* const keys = static_cast<std::uint16_t*>(cache.keys);
  std::uint16_t* const values = static_cast<std::uint16_t*>(cache.values);
  const std::size_t block = position / kKeyBlock * cache.key_pairs();
  const std::size_t row = position / 2 * cache.padded();
  for (std::size_t d = 0; d < cache.dimensions; d += kLanes) {
    const std::size_t left = cache.dimensions - d, count = left < kLanes ? left : kLanes;
    float key_lanes[kLanes], value_lanes[kLanes];
    put(key_lanes, rounded_to_bfloat16(loaded_some(key + d, count)));
    put(value_lanes, rounded_to_bfloat16(loaded_some(value + d, count)));
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t word = (block + (d + i) / 2) * kKeyBlock + position % kKeyBlock;
      keys[2 * word + (d + i) % 2] = high_half(key_lanes[i]);
      values[2 * (row + d + i) + position % 2] = high_half(value_lanes[i]);
    }
  }
}

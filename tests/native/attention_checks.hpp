// Attention of every level and storage against plain loops, and to a cache that goes round against one that does not.
#pragma once

#include <cstring>

#include "checking.hpp"
#include "engine/states/cache.hpp"

// Softmax of scores, times values, in plain double loops.
inline std::vector<float> plain_attention(const std::vector<float>& keys, const std::vector<float>& values,
                                   const AttentionRow& row, std::size_t size) {
  std::vector<double> weights(row.last);
  double total = 0.0;
  for (std::size_t p = row.first; p < row.last; ++p) {
    double score = 0.0;
    for (std::size_t d = 0; d < size; ++d) score += double(row.query[d]) * keys[p * size + d];
    total += weights[p] = std::exp(score);
  }
  std::vector<float> found(size);
  for (std::size_t d = 0; d < size; ++d) {
    double sum = 0.0;
    for (std::size_t p = row.first; p < row.last; ++p) sum += weights[p] / total * values[p * size + d];
    found[d] = static_cast<float>(sum);
  }
  return found;
}

inline void check_attention() {
  for (std::size_t size : {8, 16, 24, 64, 80}) {
    for (Storage storage : {Storage::float32, Storage::float16, Storage::bfloat16, Storage::int16, Storage::int8}) {
      // What no query sees is not a number.
      constexpr std::size_t positions = 300, seen = 277, count = 40;
      const std::vector<float> unseen(size, std::nanf(""));
      const std::vector<float> keys = floats(positions * size, 0.5f), values = floats(positions * size);
      const std::vector<float> queries = floats(count * size, 0.5f);
      for (const Kernels* kernels : levels()) {
        const Cache cache(1, {{kept_positions(positions, 0, 1), 1, size}}, storage);
        const KeysValues head = cache.head(0, 0, 0);
        for (std::size_t p = 0; p < positions; ++p) {
          const bool is_seen = p < seen;
          kernels->store(head, p, is_seen ? keys.data() + p * size : unseen.data(),
                         is_seen ? values.data() + p * size : unseen.data());
        }
        std::vector<float> outputs(count * size), scratch(attention_scratch(head.padded()));
        std::vector<AttentionRow> rows;
        for (std::size_t r = 0; r < count; ++r) {
          const std::size_t last = 7 * r + 3, first = r % 2 ? last / 2 : 0;
          rows.push_back({queries.data() + r * size, outputs.data() + r * size, first, last});
        }
        kernels->attend(head, rows.data(), rows.size(), 0.0f, scratch.data());
        const float tolerance = storage == Storage::float32    ? 1e-5f
                                : storage == Storage::float16  ? 5e-3f
                                : storage == Storage::bfloat16 ? 4e-2f
                                : storage == Storage::int16    ? 1e-3f
                                                               : 0.1f;
        for (std::size_t r = 0; r < count; ++r) {
          const std::vector<float> found(outputs.begin() + long(r * size), outputs.begin() + long((r + 1) * size));
          require(close(found, plain_attention(keys, values, rows[r], size), tolerance), "attention",
                  kernels->name);
        }
      }
    }
  }
}

// Some queries that see `window` positions each, from the one that ends with `last` on, by way of a head's cache.
inline std::vector<float> windowed_attention(const Kernels& kernels, const KeysValues& head,
                                             const std::vector<float>& queries, std::size_t last, std::size_t window,
                                             float cap) {
  const std::size_t count = queries.size() / head.dimensions, lap = (last - window) / head.capacity * head.capacity;
  std::vector<float> outputs(queries.size()), scratch(attention_scratch(head.padded()));
  std::vector<AttentionRow> rows;
  for (std::size_t r = 0; r < count; ++r) {
    const std::size_t row = r * head.dimensions, end = last + r - lap;
    rows.push_back({queries.data() + row, outputs.data() + row, end - window, end});
  }
  kernels.attend(head, rows.data(), rows.size(), cap, scratch.data());
  return outputs;
}

// What is not seen may be anything; but near what is not finite, tiles leave the work to others, whose bits differ.
inline void check_rings() {
  constexpr std::size_t positions = 1000, kept = 256, count = 40, size = 24;
  for (Storage storage : {Storage::float32, Storage::float16, Storage::bfloat16, Storage::int16, Storage::int8}) {
    for (const Kernels* kernels : levels()) {
      const Cache all(1, {{kept_positions(positions, 0, 1), 1, size}}, storage), ring(1, {{kept, 1, size}}, storage);
      const KeysValues whole_head = all.head(0, 0, 0), round_head = ring.head(0, 0, 0);
      std::size_t stored = 0;
      for (const std::size_t last : {30u, 200u, 250u, 256u, 257u, 300u, 420u, 510u, 512u, 700u, 760u, 900u}) {
        for (; stored < last + count; ++stored) {
          const bool is_finite = std::strcmp(kernels->name, "amx") == 0 || whole(0, 40) != 0;
          const std::vector<float> key = floats(size, 0.5f), value = floats(size, is_finite ? 1.0f : INFINITY);
          kernels->store(whole_head, stored, key.data(), value.data());
          kernels->store(round_head, stored % kept, key.data(), value.data());
        }
        for (const std::size_t window : {1u, 5u, 30u}) {
          const float cap = whole(0, 1) ? 2.0f : 0.0f;
          const std::vector<float> queries = floats(count * size, 0.5f);
          const auto expected = windowed_attention(*kernels, whole_head, queries, last, window, cap);
          const auto found = windowed_attention(*kernels, round_head, queries, last, window, cap);
          require(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0,
                  "attention to a cache that goes round", kernels->name);
        }
      }
    }
  }
}

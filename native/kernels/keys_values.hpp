// Attention of some queries to the keys and values of one head.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packed_weights.hpp"

namespace tersor {

enum class Storage { float32, float16, bfloat16, int16, int8 };

// Positions whose keys lie together, so that a vector holds one dimension of 16 keys.
constexpr std::size_t kKeyLanes = 16;
// Positions that are attended to together; a cache's capacity is a multiple of it.
constexpr std::size_t kAttentionSpan = 64;
// Dimensions of a head at most.
constexpr std::size_t kMostDimensions = 512;
// Queries that share what is read of the cache; those that tiles take together, and their positions, of which the
// capacity of a cache that goes round is a multiple.
constexpr std::size_t kAttentionRows = 4;
constexpr std::size_t kTiledQueries = 32, kTiledSpan = 256;

TERSOR_INLINE constexpr std::size_t storage_bytes(Storage storage) {
  return storage == Storage::float32 ? 4 : storage == Storage::int8 ? 1 : 2;
}

// Whether two neighbours, dimensions of keys and positions of values, make a word.
TERSOR_INLINE constexpr bool lies_in_pairs(Storage storage) {
  return storage == Storage::bfloat16 || storage == Storage::int16;
}

TERSOR_INLINE constexpr bool has_scales(Storage storage) {
  return storage == Storage::float16 || storage == Storage::int16 || storage == Storage::int8;
}

// The cache of one head of keys and values. Dimensions of values are padded to whole vectors. What follows the last
// position of the capacity lies at the beginning again, in place of what was there.
struct KeysValues {
  // Of pairs see every_set/attention_elements.hpp.
  void* keys;           // (capacity / kKeyLanes, dimensions, kKeyLanes)
  void* values;         // (capacity, padded); likewise
  float* key_scales;    // (capacity); of integers and float16 only
  float* value_scales;  // likewise
  Storage storage;
  std::size_t dimensions, capacity;

  TERSOR_INLINE std::size_t padded() const { return (dimensions + 15) / 16 * 16; }
  TERSOR_INLINE std::size_t key_pairs() const { return (dimensions + 1) / 2; }
};

// A query, scaled already, that sees the positions first..last; `last` is less than two capacities.
struct AttentionRow {
  const float* query;
  float* output;
  std::size_t first, last;

  // From here on positions count from where the cache begins again.
  TERSOR_INLINE void go_round(std::size_t capacity) {
    first = first > capacity ? first - capacity : 0;
    last = last > capacity ? last - capacity : 0;
  }
};

// Floats of scratch that `attend` needs, at the level that needs most: with tiles.
TERSOR_INLINE constexpr std::size_t attention_scratch(std::size_t padded) {
  constexpr std::size_t kAligned = 16, kScores = kTiledSpan + 16, kWeights = kTiledSpan / 2 + 16;
  return kAligned + kTiledQueries * ((padded + 31) / 32 * 48 + kScores + kWeights);
}

}  // namespace tersor

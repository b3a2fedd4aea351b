// Attention to a cache of bfloat16 by tiles, which lies as tiles want it: 16 or 32 queries times 32 positions.
//
// Scores of a span of positions are found first, then become weights, then the span's values are added, with
// what was found before scaled down if a larger score appears (https://arxiv.org/abs/2205.14135, algorithm 1).
// Spans start at the same positions for every query, and single queries are attended the same way: a query's
// bits do not depend on others.
#pragma once

#include "kernels/amx/tiles.hpp"
#include "kernels/kernels.hpp"

namespace tersor {
namespace {

// Positions that are attended to together, and those of two tiles of keys or of one of values.
constexpr std::size_t kSpan = kTiledSpan, kPositions = 32;
// From a query's scores or weights to the next one's: of both, neighbours fall on different lines of the cache.
constexpr std::size_t kScoreStride = kSpan + 16, kWeightStride = kSpan + 32;

// 2^x where `lanes` say so and it is a normal float, 0 elsewhere; wrong by 4e-6 of it at most, which is enough for
// weights of bfloat16 and takes less time than exponential.hpp. Others, which are too small to matter, would take the
// processor a hundred times as long.
TERSOR_INLINE inline __m512 power_of_two(__mmask16 lanes, __m512 x) {
  const __mmask16 normal = _mm512_mask_cmp_ps_mask(lanes, x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);
  __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(0.0095701f), rest, _mm512_set1_ps(0.05591786f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.24024745f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.69312181f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(0.99999926f));
  return _mm512_maskz_scalef_ps(normal, sum, whole);
}

// Lanes of those from `lane` on that lie in low..high, 32 of them.
TERSOR_INLINE inline std::uint32_t lanes_between(std::size_t lane, std::size_t low, std::size_t high) {
  const std::size_t begin = low > lane ? low - lane : 0, end = high > lane ? high - lane : 0;
  const std::uint64_t before = begin < 32 ? (std::uint64_t{1} << begin) - 1 : 0xffffffffu;
  const std::uint64_t until = end < 32 ? (std::uint64_t{1} << end) - 1 : 0xffffffffu;
  return static_cast<std::uint32_t>(until & ~before);
}

struct TiledAttention {
  const KeysValues& cache;
  AttentionRow rows[kTiledQueries];
  std::size_t count, depth;
  float* outputs;          // (count, padded)
  float* scores;           // (count, kScoreStride)
  std::uint16_t* weights;  // (count, kWeightStride)
  std::uint16_t* queries;  // (count, padded)
  float tops[kTiledQueries], sums[kTiledQueries];

  TiledAttention(const KeysValues& of, const AttentionRow* queries_of, std::size_t some, std::size_t deep,
                 float* scratch)
      : cache(of), count(some), depth(deep) {
    for (std::size_t r = 0; r < count; ++r) rows[r] = queries_of[r];
    const auto address = reinterpret_cast<std::uintptr_t>(scratch);
    outputs = scratch + (64 - address % 64) % 64 / sizeof(float);
    scores = outputs + kTiledQueries * query_stride();
    weights = reinterpret_cast<std::uint16_t*>(scores + kTiledQueries * kScoreStride);
    queries = weights + kTiledQueries * kWeightStride;
  }

  // Of outputs and of queries.
  std::size_t query_stride() const { return (cache.dimensions + 31) / 32 * 32; }

  void run(std::size_t first, std::size_t last, float cap) {
    take_queries();
    finish_writing();
    bool configured = false, found = false;
    for (std::size_t start = first / kSpan * kSpan; start < last; start += kSpan) {
      if (start >= cache.capacity) {
        start -= cache.capacity;
        last -= cache.capacity;
        first = first > cache.capacity ? first - cache.capacity : 0;
        for (std::size_t r = 0; r < count; ++r) rows[r].go_round(cache.capacity);
      }
      const std::size_t from = start > first ? start : first / kPositions * kPositions;
      const std::size_t stop = (last + kPositions - 1) / kPositions * kPositions;
      const std::size_t to = start + kSpan < stop ? start + kSpan : stop;
      if (!configured || depth != kTileRows) use_four_sums(count, depth);
      configured = true;
      for (std::size_t at = from; at < to; at += kPositions) multiply_keys(at, at - start);
      if (cap > 0.0f) limit(from - start, to - start, cap);
      for (std::size_t r = 0; r < count; ++r) weigh(r, start, from, to);
      finish_writing();
      if (depth != kTileRows) use_four_sums(count, kTileRows);
      for (std::size_t lane = 0; lane < cache.padded(); lane += 2 * kPanelRows) {
        add_values(lane, start, from, to, found);
      }
      found = true;
    }
    put_outputs();
  }

  void take_queries() {
    const std::size_t size = cache.dimensions;
    for (std::size_t r = 0; r < count; ++r) {
      tops[r] = -__builtin_inff();
      sums[r] = 0.0f;
      for (std::size_t d = 0; d < size; d += 32) {
        const std::uint32_t lanes = lanes_between(d, 0, size);
        const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), rows[r].query + d);
        const __m512 high = lanes >> 16 == 0 ? _mm512_setzero_ps()
                                             : _mm512_maskz_loadu_ps(lanes >> 16, rows[r].query + d + 16);
        const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
        _mm512_store_si512(queries + r * query_stride() + d, (__m512i)both);
      }
    }
  }

  // Scores of all queries with 32 positions from `at` on, which become the scores from `column` on.
  void multiply_keys(std::size_t at, std::size_t column) const {
    const std::size_t stride = query_stride() * sizeof *queries, pairs = cache.key_pairs();
    const std::uint32_t* const keys =
        static_cast<const std::uint32_t*>(cache.keys) + at / kKeyLanes * pairs * kKeyLanes;
    const bool both = count > kTileRows;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t pair = 0; pair < pairs; pair += depth) {
      _tile_loadd(4, queries + 2 * pair, stride);
      _tile_loadd(6, keys + pair * kKeyLanes, kTileBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, keys + (pairs + pair) * kKeyLanes, kTileBytes);
      _tile_dpbf16ps(1, 4, 7);
      if (!both) continue;
      _tile_loadd(5, queries + kTileRows * query_stride() + 2 * pair, stride);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* const to = scores + column;
    _tile_stored(0, to, kScoreStride * sizeof *scores);
    _tile_stored(1, to + kKeyLanes, kScoreStride * sizeof *scores);
    if (!both) return;
    _tile_stored(2, to + kTileRows * kScoreStride, kScoreStride * sizeof *scores);
    _tile_stored(3, to + kTileRows * kScoreStride + kKeyLanes, kScoreStride * sizeof *scores);
  }

  void limit(std::size_t from, std::size_t to, float cap) const {
    const auto soft_cap = avx512_bf16_kernels()->soft_cap;
    for (std::size_t r = 0; r < count; ++r) soft_cap(scores + r * kScoreStride + from, to - from, cap);
  }

  // Scores of a query with the positions from..to become weights.
  void weigh(std::size_t r, std::size_t start, std::size_t from, std::size_t to) {
    const std::size_t low = rows[r].first, high = rows[r].last;
    const float* const score = scores + r * kScoreStride;
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    __m512 largest = lowest;
    for (std::size_t at = from; at < to; at += kPositions) {
      const std::uint32_t lanes = lanes_between(at, low, high);
      const float* const here = score + at - start;
      largest = _mm512_max_ps(_mm512_mask_loadu_ps(lowest, static_cast<__mmask16>(lanes), here), largest);
      largest = _mm512_max_ps(_mm512_mask_loadu_ps(lowest, lanes >> 16, here + 16), largest);
    }
    raise_top(r, _mm512_reduce_max_ps(largest), low < to && high > from);
    add_weights(r, start, from, to);
  }

  void raise_top(std::size_t r, float found, bool sees) {
    if (!sees || found <= tops[r]) return;
    if (sums[r] != 0.0f) {
      const __m512 factor = power_of_two(0xffff, _mm512_set1_ps((tops[r] - found) * kLog2E));
      float* const output = outputs + r * query_stride();
      for (std::size_t d = 0; d < cache.padded(); d += 16) {
        _mm512_store_ps(output + d, _mm512_mul_ps(_mm512_load_ps(output + d), factor));
      }
      sums[r] *= _mm512_cvtss_f32(factor);
    }
    tops[r] = found;
  }

  static constexpr float kLog2E = 1.4426950408889634f;

  void add_weights(std::size_t r, std::size_t start, std::size_t from, std::size_t to) {
    const std::size_t low = rows[r].first, high = rows[r].last;
    const float* const score = scores + r * kScoreStride;
    std::uint16_t* const weight = weights + r * kWeightStride;
    const __m512 turn = _mm512_set1_ps(kLog2E), top = _mm512_set1_ps(tops[r] * kLog2E);
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
    __m512 sum = _mm512_setzero_ps();
    for (std::size_t at = from; at < to; at += kPositions) {
      const std::uint32_t lanes = lanes_between(at, low, high);
      if (lanes == 0) {
        _mm512_store_si512(weight + at - start, _mm512_setzero_si512());
        continue;
      }
      const float* const here = score + at - start;
      const __m512 first = _mm512_fmsub_ps(_mm512_load_ps(here), turn, top);
      const __m512 second = _mm512_fmsub_ps(_mm512_load_ps(here + 16), turn, top);
      const __m512 one = power_of_two(static_cast<__mmask16>(lanes), first);
      const __m512 two = power_of_two(static_cast<__mmask16>(lanes >> 16), second);
      const __m512bh rounded = _mm512_cvtne2ps_pbh(two, one);
      sum = _mm512_dpbf16_ps(sum, rounded, ones);
      _mm512_store_si512(weight + at - start, (__m512i)rounded);
    }
    sums[r] += _mm512_reduce_add_ps(sum);
  }

  // Adds 32 dimensions, from `lane` on, or the 16 that are left.
  void add_values(std::size_t lane, std::size_t start, std::size_t from, std::size_t to, bool found) const {
    const std::size_t padded = cache.padded(), stride = query_stride() * sizeof *outputs;
    const bool two = lane + kPanelRows < padded, both = count > kTileRows;
    float* const first = outputs + lane;
    float* const second = first + kTileRows * query_stride();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (found) {
      _tile_loadd(0, first, stride);
      if (two) _tile_loadd(1, first + kPanelRows, stride);
      if (both) _tile_loadd(2, second, stride);
      if (both && two) _tile_loadd(3, second + kPanelRows, stride);
    }
    for (std::size_t at = from; at < to; at += kPositions) {
      const std::uint32_t* const values = static_cast<const std::uint32_t*>(cache.values) + at / 2 * padded + lane;
      const std::uint16_t* const weight = weights + at - start;
      _tile_loadd(4, weight, kWeightStride * sizeof *weight);
      _tile_loadd(6, values, padded * sizeof *values);
      _tile_dpbf16ps(0, 4, 6);
      if (two) {
        _tile_loadd(7, values + kPanelRows, padded * sizeof *values);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (!both) continue;
      _tile_loadd(5, weight + kTileRows * kWeightStride, kWeightStride * sizeof *weight);
      _tile_dpbf16ps(2, 5, 6);
      if (two) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, first, stride);
    if (two) _tile_stored(1, first + kPanelRows, stride);
    if (both) _tile_stored(2, second, stride);
    if (both && two) _tile_stored(3, second + kPanelRows, stride);
  }

  void put_outputs() const {
    for (std::size_t r = 0; r < count; ++r) {
      const __m512 inverse = _mm512_set1_ps(1.0f / sums[r]);
      for (std::size_t d = 0; d < cache.dimensions; d += 16) {
        const __mmask16 lanes = static_cast<__mmask16>(lanes_between(d, 0, cache.dimensions));
        const __m512 output = _mm512_load_ps(outputs + r * query_stride() + d);
        _mm512_mask_storeu_ps(rows[r].output + d, lanes, _mm512_mul_ps(output, inverse));
      }
    }
  }
};

// Whether values of pairs of positions from..to are finite.
bool are_finite(const KeysValues& cache, std::size_t from, std::size_t to) {
  const std::size_t padded = cache.padded(), lap = cache.capacity / 2;
  const std::uint32_t* const values = static_cast<const std::uint32_t*>(cache.values);
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  __mmask32 found = 0;
  for (std::size_t pair = from; pair < to; ++pair) {
    const std::uint32_t* const row = values + (pair < lap ? pair : pair - lap) * padded;
    for (std::size_t i = 0; i < padded; i += 16) {
      const __m512i pairs = _mm512_and_si512(_mm512_loadu_si512(row + i), exponent);
      found |= _mm512_cmpeq_epi16_mask(pairs, exponent);
    }
  }
  return found == 0;
}

void attend_together(const KeysValues& cache, const AttentionRow* rows, std::size_t count,
                            std::size_t depth, float cap, float* scratch) {
  std::size_t first = rows[0].first, last = rows[0].last, from = first, to = last;
  for (std::size_t r = 1; r < count; ++r) {
    first = rows[r].first < first ? rows[r].first : first;
    from = rows[r].first > from ? rows[r].first : from;
    last = rows[r].last > last ? rows[r].last : last;
    to = rows[r].last < to ? rows[r].last : to;
  }
  // What a query does not see is multiplied by 0, which does not make NaN nothing.
  const std::size_t start = first / kPositions * kPositions;
  const std::size_t stop = (last + kPositions - 1) / kPositions * kPositions;
  if (!are_finite(cache, start / 2, (from + 1) / 2) || !are_finite(cache, to / 2, stop / 2)) {
    return avx512_bf16_kernels()->attend(cache, rows, count, cap, scratch);
  }
  TiledAttention(cache, rows, count, depth, scratch).run(first, last, cap);
}

void attend(const KeysValues& cache, const AttentionRow* rows, std::size_t count, float cap,
                   float* scratch) {
  // Pairs of dimensions in a tile: as many as divide them.
  std::size_t depth = kTileRows;
  while (cache.key_pairs() % depth != 0) --depth;
  if (cache.storage != Storage::bfloat16 || depth < 4) {
    return avx512_bf16_kernels()->attend(cache, rows, count, cap, scratch);
  }
  for (std::size_t r = 0; r < count; r += kTiledQueries) {
    const std::size_t left = count - r;
    attend_together(cache, rows + r, left < kTiledQueries ? left : kTiledQueries, depth, cap, scratch);
  }
  _tile_release();
}

}  // namespace
}  // namespace tersor

#include "engine/parts/embedding.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/one_parameter.hpp"

namespace tersor {
namespace {

float from_bfloat16(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// One row of packed weights as floats.
void decode_row(const Linear& linear, std::size_t row, float* to) {
  const PackedWeights& w = linear.packed;
  const std::size_t panel = row / kPanelRows, lane = row % kPanelRows, step = w.chunk_step(panel);
  const std::uint8_t* chunk = w.codes + w.first_chunk(panel);
  for (std::size_t g = 0; g < w.groups(); ++g) {
    const std::size_t parameter = (panel * w.groups() + g) * kPanelRows + lane;
    const float scale = number_at(w.scales, parameter);
    const float minimum = linear.minima.any() ? number_at(linear.minima, parameter) : 0.0f;
    const std::int32_t zero = w.zeros == nullptr ? w.zero : w.zeros[parameter];
    const std::size_t last = std::min((g + 1) * w.group, w.columns);
    for (std::size_t k = g * w.group; k < last; k += kChunk, chunk += step) {
      for (std::size_t j = 0; j < std::min(kChunk, last - k); ++j) {
        const int code = static_cast<int>(code_at(chunk, w.bits, lane, j));
        const float level = linear.values == nullptr ? static_cast<float>(code - zero) : linear.values[code];
        to[k + j] = level * scale + minimum;
      }
    }
  }
}

}  // namespace

void Embedding::row(std::size_t id, float* to) const {
  const std::size_t from = id * hidden;
  if (wide != nullptr) {
    std::copy_n(wide + from, hidden, to);
  } else if (narrow != nullptr) {
    for (std::size_t i = 0; i < hidden; ++i) to[i] = from_bfloat16(narrow[from + i]);
  } else {
    decode_row(packed, id, to);
  }
  for (std::size_t i = 0; i < hidden; ++i) to[i] *= scale;
}

}  // namespace tersor

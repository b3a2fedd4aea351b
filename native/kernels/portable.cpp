// Linears on any machine: the plain loops that the other levels are tested against.
#include "kernels/kernels.hpp"

#include "kernels/every_set/level_table.hpp"
#include "kernels/one_parameter.hpp"

namespace tersor {
namespace {

std::int32_t code(const std::uint8_t* chunk, unsigned bits, std::size_t row, std::size_t column) {
  return static_cast<std::int32_t>(code_at(chunk, bits, row, column));
}

float row_of_token(const PackedWeights& w, const QuantizedTokens& a, std::size_t panel,
                   std::size_t row, std::size_t token, float total) {
  const std::size_t groups = w.groups(), chunks = w.chunks();
  const std::int8_t* codes = a.codes + token * chunks * kChunk;
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t first = g * w.group_chunks();
    const std::size_t last = g + 1 < groups ? first + w.group_chunks() : chunks;
    const std::size_t parameter = (panel * groups + g) * kPanelRows + row;
    std::int32_t sum = 0;
    for (std::size_t c = first; c < last; ++c) {
      const std::uint8_t* chunk = w.codes + w.first_chunk(panel) + c * w.chunk_step(panel);
      for (std::size_t k = 0; k < kChunk; ++k) sum += code(chunk, w.bits, row, k) * codes[c * kChunk + k];
    }
    const std::int32_t zero = w.zeros == nullptr ? w.zero : w.zeros[parameter];
    sum -= zero * a.sums[token * groups + g];
    total += static_cast<float>(sum) * (number_at(w.scales, parameter) * a.scales[token * groups + g]);
  }
  return total;
}

void linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
            std::size_t last) {
  for (std::size_t panel = first; panel < last; ++panel) {
    for (std::size_t row = 0; row < kPanelRows && panel * kPanelRows + row < w.rows; ++row) {
      for (std::size_t token = 0; token < a.tokens; ++token) {
        float* const to = out.row(token) + panel * kPanelRows + row;
        *to = row_of_token(w, a, panel, row, token, out.add ? *to : 0.0f);
      }
    }
  }
}

std::size_t multiply_only(std::size_t rounds) {
  std::int32_t sums[64] = {};
  std::int8_t left[64], right[64];
  for (std::size_t i = 0; i < 64; ++i) left[i] = right[i] = static_cast<std::int8_t>(i);
  for (std::size_t round = 0; round < rounds; ++round) {
    asm volatile("" : : "r"(left), "r"(right) : "memory");
    for (std::size_t i = 0; i < 64; ++i) sums[i] += left[i] * right[i];
  }
  asm volatile("" : : "r"(sums) : "memory");
  return rounds * 64;
}

constexpr Kernels kKernels = table_of("portable", linear, multiply_only);

}  // namespace

const Kernels* portable_kernels() { return &kKernels; }

void pack_panels(const std::uint8_t* codes, std::size_t rows, std::size_t columns, std::size_t group,
                 unsigned bits, std::uint8_t* packed, std::size_t first, std::size_t last) {
  const PackedWeights shape = {nullptr, {}, nullptr, 0, rows, columns, group, bits};
  for (std::size_t row = first; row < last; ++row) {
    const std::size_t panel = row / kPanelRows, step = shape.chunk_step(panel);
    std::uint8_t* chunk = packed + shape.first_chunk(panel);
    for (std::size_t start = 0; start < columns; start += group) {
      const std::size_t stop = start + group < columns ? start + group : columns;
      for (std::size_t column = start; column < stop; column += kChunk, chunk += step) {
        const std::uint8_t* const from = codes + row * columns + column;
        const std::size_t count = stop - column < kChunk ? stop - column : kChunk;
        for (std::size_t k = 0; k < count; ++k) put_code(chunk, bits, row % kPanelRows, k, from[k]);
      }
    }
  }
}

}  // namespace tersor

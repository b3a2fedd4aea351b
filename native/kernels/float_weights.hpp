// Linears whose activations stay float32: weights are decoded on the way into the product.
#pragma once

#include "kernels/packed_weights.hpp"

namespace tersor {

// Exactly one of `wide`, `narrow`, `packed` and `numbers` is set.
struct FloatWeights {
  const float* wide;            // (panels, columns, kPanelRows)
  const std::uint16_t* narrow;  // likewise, bfloat16
  const PackedWeights* packed;
  const float* values;  // of packed codes of 4 bits: what the codes 0..15 stand for; null: code - zero
  std::size_t rows, columns;
  const GroupParameters* numbers = nullptr;  // of which a column is a group

  TERSOR_INLINE std::size_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
};

}  // namespace tersor

#include "engine/states/cache.hpp"

#include <algorithm>
#include <new>

#include "memory/sizes.hpp"

namespace tersor {
namespace {

constexpr std::size_t kAligned = 64;

std::size_t rounded_up(std::size_t size, std::size_t unit) { return sum(size, unit - 1) / unit * unit; }

}  // namespace

std::size_t kept_positions(std::size_t context, std::size_t window, std::size_t together) {
  const std::size_t all = rounded_up(context, kAttentionSpan);
  if (window == 0 || window > context || together > context) return all;
  // Whole spans: positions are attended to in the same spans wherever they lie, so the bits are the same.
  return std::min(all, rounded_up(sum(window - 1, together), kTiledSpan));
}

Cache::Cache(std::size_t slots, const std::vector<Keeping>& layers, Storage storage)
    : slots_(slots), storage_(storage) {
  const std::size_t size = storage_bytes(storage), scales = has_scales(storage) ? 2 * sizeof(float) : 0;
  layers_.reserve(layers.size());
  for (const Keeping& kept : layers) {
    const std::size_t paired = lies_in_pairs(storage) ? rounded_up(kept.dimensions, 2) : kept.dimensions;
    const std::size_t keys = product(kept.positions, paired * size);
    const std::size_t values = product(kept.positions, rounded_up(kept.dimensions, 16) * size);
    const std::size_t head_bytes =
        rounded_up(sum(sum(keys, values), product(kept.positions, scales)), kAligned);
    layers_.push_back({kept, keys, values, head_bytes, slot_bytes_});
    slot_bytes_ = sum(slot_bytes_, product(kept.heads, head_bytes));
  }
  // calloc gives pages that are zero without touching them.
  memory_.reset(std::calloc(sum(product(slots, slot_bytes_), kAligned), 1));
  if (memory_ == nullptr) throw std::bad_alloc();
}

KeysValues Cache::head(std::size_t slot, std::size_t layer, std::size_t head) const {
  const Layer& held = layers_[layer];
  const auto start = reinterpret_cast<std::uintptr_t>(memory_.get());
  char* const first = reinterpret_cast<char*>(rounded_up(start, kAligned));
  char* const keys = first + slot * slot_bytes_ + held.first + head * held.head_bytes;
  char* const values = keys + held.key_bytes;
  float* const scales = reinterpret_cast<float*>(values + held.value_bytes);
  const bool scaled = has_scales(storage_);
  return {keys,
          values,
          scaled ? scales : nullptr,
          scaled ? scales + held.kept.positions : nullptr,
          storage_,
          held.kept.dimensions,
          held.kept.positions};
}

}  // namespace tersor

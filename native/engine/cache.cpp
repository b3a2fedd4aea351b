#include "cache.hpp"

#include <new>

namespace tersor {
namespace {

constexpr std::size_t kAligned = 64;

std::size_t rounded_up(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace

Cache::Cache(std::size_t slots, std::size_t layers, std::size_t heads, std::size_t dimensions,
             std::size_t capacity, Storage storage)
    : slots_(slots),
      layers_(layers),
      heads_(heads),
      dimensions_(dimensions),
      capacity_(rounded_up(capacity, kAttentionBlock)),
      storage_(storage) {
  const std::size_t size = storage_bytes(storage), padded = rounded_up(dimensions, 16);
  key_bytes_ = capacity_ * (lies_in_pairs(storage) ? rounded_up(dimensions, 2) : dimensions) * size;
  value_bytes_ = capacity_ * padded * size;
  const std::size_t scales = has_scales(storage) ? 2 * capacity_ * sizeof(float) : 0;
  head_bytes_ = rounded_up(key_bytes_ + value_bytes_ + scales, kAligned);
  // calloc gives pages that are zero without touching them.
  memory_.reset(std::calloc(bytes() + kAligned, 1));
  if (memory_ == nullptr) throw std::bad_alloc();
}

KeysValues Cache::head(std::size_t slot, std::size_t layer, std::size_t head) const {
  const auto start = reinterpret_cast<std::uintptr_t>(memory_.get());
  char* const first = reinterpret_cast<char*>(rounded_up(start, kAligned));
  char* const keys = first + ((slot * layers_ + layer) * heads_ + head) * head_bytes_;
  char* const values = keys + key_bytes_;
  float* const scales = reinterpret_cast<float*>(values + value_bytes_);
  const bool scaled = has_scales(storage_);
  return {keys,     values,     scaled ? scales : nullptr, scaled ? scales + capacity_ : nullptr,
          storage_, dimensions_};
}

}  // namespace tersor

// Integer linears of every level against plain loops, bit for bit: with scales of 1 a result is an integer, which
// a float holds exactly up to 2^24.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/kernels.hpp"

namespace exact {

using namespace tersor;

enum class Codes { any, largest, alternating };

struct Case {
  std::size_t rows, columns, group;
  unsigned bits;
  bool with_zeros, add;
  Codes pattern;
};

class Linear {
 public:
  Linear(const Case& of, std::size_t tokens)
      : case_(of),
        tokens_(tokens),
        plain_(filled<std::uint8_t>(of.rows * of.columns, 0, (1 << of.bits) - 1)),
        weights_{nullptr, {}, nullptr, 0, of.rows, of.columns, of.group, of.bits} {
    if (of.pattern == Codes::any) weights_.zero = 1 << (of.bits - 1);
    packed_.resize(weights_.panels() * weights_.chunks() * chunk_bytes(of.bits));
    pack_panels(plain_.data(), of.rows, of.columns, of.group, of.bits, packed_.data(), 0, of.rows);
    const std::size_t parameters = weights_.panels() * weights_.groups() * kPanelRows;
    zeros_ = filled<std::uint8_t>(of.with_zeros ? parameters : 0, 0, (1 << of.bits) - 1);
    scales_.assign(parameters, 0x3f80);  // 1 as bfloat16
    weights_.codes = packed_.data();
    weights_.scales.narrow = scales_.data();
    weights_.zeros = of.with_zeros ? zeros_.data() : nullptr;
    quantize(filled<std::int8_t>(tokens * of.columns, -128, 127));
  }

  void check(const Kernels& kernels) const {
    std::vector<float> y(tokens_ * case_.rows, 3.0f);
    kernels.linear(weights_, {codes_.data(), units_.data(), sums_.data(), tokens_},
                   {y.data(), case_.rows, case_.add}, 0, weights_.panels());
    if (y == expected_) return;
    std::fprintf(stderr, "exact linear at level %s: %zu x %zu, groups of %zu, %u bits, %zu tokens\n",
                 kernels.name, case_.rows, case_.columns, case_.group, case_.bits, tokens_);
    std::exit(1);
  }

 private:
  template <typename T>
  std::vector<T> filled(std::size_t count, int low, int high) const {
    static std::mt19937 chance(2);
    std::uniform_int_distribution<int> any(low, high);
    std::vector<T> made(count);
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_high = case_.pattern == Codes::largest || i % 2 == 0;
      made[i] = static_cast<T>(case_.pattern == Codes::any ? any(chance) : is_high ? high : low);
    }
    return made;
  }

  // Puts activations into chunks, and computes what they give.
  void quantize(const std::vector<std::int8_t>& x) {
    const std::size_t groups = weights_.groups(), width = weights_.chunks() * kChunk;
    codes_.assign(tokens_ * width, 0);
    units_.assign(tokens_ * groups, 1.0f);
    sums_.assign(tokens_ * groups, 0);
    expected_.assign(tokens_ * case_.rows, case_.add ? 3.0f : 0.0f);
    for (std::size_t t = 0; t < tokens_; ++t) {
      for (std::size_t k = 0; k < case_.columns; ++k) {
        const std::size_t g = k / case_.group, within = k % case_.group;
        const std::int8_t code = x[t * case_.columns + k];
        codes_[t * width + g * weights_.group_chunks() * kChunk + within] = code;
        sums_[t * groups + g] += code;
        for (std::size_t n = 0; n < case_.rows; ++n) {
          const std::size_t parameter = (n / kPanelRows * groups + g) * kPanelRows + n % kPanelRows;
          const int zero = case_.with_zeros ? zeros_[parameter] : weights_.zero;
          expected_[t * case_.rows + n] += static_cast<float>((plain_[n * case_.columns + k] - zero) * code);
        }
      }
    }
  }

  const Case case_;
  const std::size_t tokens_;
  std::vector<std::uint8_t> plain_, packed_, zeros_;
  std::vector<std::uint16_t> scales_;
  PackedWeights weights_;
  std::vector<std::int8_t> codes_;
  std::vector<float> units_, expected_;
  std::vector<std::int32_t> sums_;
};

inline void check_linears(const std::vector<const Kernels*>& levels) {
  struct Shape {
    std::size_t rows, columns, group;
  };
  for (const Shape& shape : {Shape{7, 8, 8}, Shape{16, 9, 9}, Shape{33, 72, 20}, Shape{50, 130, 64},
                             Shape{64, 200, 200}, Shape{20, 5, 2}}) {
    for (const unsigned bits : {2, 3, 4, 8}) {
      for (const std::size_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
        for (const Codes pattern : {Codes::any, Codes::largest, Codes::alternating}) {
          for (const bool with_zeros : {false, true}) {
            const bool add = tokens % 2 == 0;
            const Case one = {shape.rows, shape.columns, shape.group, bits, with_zeros, add, pattern};
            const Linear linear(one, tokens);
            for (const Kernels* kernels : levels) linear.check(*kernels);
          }
        }
      }
    }
  }
}

}  // namespace exact

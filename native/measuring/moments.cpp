#include "measuring/moments.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "measuring/moments_kernel.hpp"

namespace tersor {
namespace {

constexpr std::size_t kRunWords = 128;  // words of a run of tokens: a strip of it fits the L1 cache
constexpr std::size_t kBands = kMomentColumns / kMomentRows;  // per strip

constexpr std::size_t ceil_div(std::size_t count, std::size_t by) { return (count + by - 1) / by; }

template <typename Word>
constexpr std::size_t kTokensPerWord = 1;
template <>
constexpr std::size_t kTokensPerWord<std::uint32_t> = 2;

// A word of `count` (1 or 2) tokens, whose numbers are `stride` apart.
inline void pack_word(const float* x, std::size_t, std::size_t, float& word) { word = *x; }
inline void pack_word(const std::uint16_t* x, std::size_t, std::size_t, float& word) {
  word = std::bit_cast<float>(std::uint32_t{*x} << 16);
}
inline void pack_word(const std::uint16_t* x, std::size_t count, std::size_t stride,
                      std::uint32_t& word) {
  word = count == 1 ? *x : *x | std::uint32_t{x[stride]} << 16;
}

// Tokens (tokens, width) of one side of the product.
template <typename T>
struct Side {
  const T* tokens;
  std::size_t width;
};

// Strips first, first + 1, ... up to the last, of some tokens: (strips, words, kMomentColumns).
// Columns that the matrix does not have are 0.
template <typename T, typename Word>
void pack(Side<T> side, std::size_t tokens, std::size_t first, std::vector<Word>& strips) {
  const std::size_t words = ceil_div(tokens, kTokensPerWord<Word>);
  const std::size_t last = ceil_div(side.width, kMomentColumns);
  strips.resize((last - first) * words * kMomentColumns);
  Word* out = strips.data();
  for (std::size_t strip = first; strip < last; ++strip) {
    const std::size_t start = strip * kMomentColumns;
    const std::size_t columns = std::min(kMomentColumns, side.width - start);
    for (std::size_t word = 0; word < words; ++word, out += kMomentColumns) {
      const std::size_t token = word * kTokensPerWord<Word>;
      const T* from = side.tokens + token * side.width + start;
      const std::size_t count = std::min(kTokensPerWord<Word>, tokens - token);
      for (std::size_t c = 0; c < columns; ++c) pack_word(from + c, count, side.width, out[c]);
      std::fill(out + columns, out + kMomentColumns, Word{});
    }
  }
}

// The result and what of it is computed: bands first...last. Of a symmetric one, strips of columns
// left of the diagonal are left out.
struct Output {
  float* total;
  std::size_t rows, columns, first, last;
  bool symmetric;

  std::size_t first_strip(std::size_t band) const { return symmetric ? band / kBands : 0; }
};

// Bands before which about `part.index / part.count` of the work lies.
std::size_t boundary(const Output& output, Part part) {
  const std::size_t bands = ceil_div(output.rows, kMomentRows);
  const std::size_t strips = ceil_div(output.columns, kMomentColumns);
  std::size_t work = 0;
  for (std::size_t band = 0; band < bands; ++band) work += strips - output.first_strip(band);
  std::size_t before = 0, band = 0;
  while (band < bands && before * part.count < work * part.index) {
    before += strips - output.first_strip(band++);
  }
  return band;
}

// Adds one tile: at the edges of the result by way of a whole tile beside it.
template <typename Word>
void add_tile(const Output& output, std::size_t band, std::size_t strip, const Word* left,
              const Word* right, std::size_t words, MomentKernel<Word> kernel) {
  const std::size_t row = band * kMomentRows, column = strip * kMomentColumns;
  float* target = output.total + row * output.columns + column;
  const std::size_t rows = std::min(kMomentRows, output.rows - row);
  const std::size_t columns = std::min(kMomentColumns, output.columns - column);
  if (rows == kMomentRows && columns == kMomentColumns) {
    kernel(left, right, words, target, output.columns);
    return;
  }
  float tile[kMomentRows * kMomentColumns] = {};
  kernel(left, right, words, tile, kMomentColumns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      target[r * output.columns + c] += tile[r * kMomentColumns + c];
    }
  }
}

template <typename T, typename Word>
void add_products(Side<T> left, Side<T> right, std::size_t tokens, const Output& output,
                  MomentKernel<Word> kernel) {
  if (output.first == output.last) return;
  const std::size_t strips = ceil_div(output.columns, kMomentColumns);
  const std::size_t left_first = output.first / kBands;
  const std::size_t right_first = output.first_strip(output.first);
  std::vector<Word> left_strips, right_strips;
  for (std::size_t done = 0; done < tokens; done += kRunWords * kTokensPerWord<Word>) {
    const std::size_t count = std::min(kRunWords * kTokensPerWord<Word>, tokens - done);
    const std::size_t words = ceil_div(count, kTokensPerWord<Word>);
    pack<T, Word>({right.tokens + done * right.width, right.width}, count, right_first,
                  right_strips);
    if (!output.symmetric) {
      pack<T, Word>({left.tokens + done * left.width, left.width}, count, left_first, left_strips);
    }
    const Word* lefts = (output.symmetric ? right_strips : left_strips).data();
    for (std::size_t strip = right_first; strip < strips; ++strip) {
      const Word* rights = right_strips.data() + (strip - right_first) * words * kMomentColumns;
      for (std::size_t band = output.first; band < output.last; ++band) {
        if (output.first_strip(band) > strip) break;
        const std::size_t offset = (band / kBands - left_first) * words * kMomentColumns;
        add_tile(output, band, strip, lefts + offset + band % kBands * kMomentRows, rights, words,
                 kernel);
      }
    }
  }
}

Output part_of(float* total, std::size_t rows, std::size_t columns, bool symmetric, Part part) {
  Output output = {total, rows, columns, 0, 0, symmetric};
  output.first = boundary(output, part);
  output.last = boundary(output, {part.index + 1, part.count});
  return output;
}

void add(Side<float> left, Side<float> right, std::size_t tokens, const Output& output) {
  add_products(left, right, tokens, output, float_kernel());
}

void add(Side<std::uint16_t> left, Side<std::uint16_t> right, std::size_t tokens,
         const Output& output) {
  if (const auto pairs = pair_kernel()) {
    add_products(left, right, tokens, output, pairs);
  } else {
    add_products(left, right, tokens, output, float_kernel());
  }
}

}  // namespace

template <typename T>
void add_second_moment(const T* x, std::size_t tokens, std::size_t width, float* total, Part part) {
  add(Side<T>{x, width}, Side<T>{x, width}, tokens, part_of(total, width, width, true, part));
}

template <typename T>
void add_cross_moment(const T* left, const T* right, std::size_t tokens, std::size_t left_width,
                      std::size_t right_width, float* total, Part part) {
  add(Side<T>{left, left_width}, Side<T>{right, right_width}, tokens,
      part_of(total, left_width, right_width, false, part));
}

template void add_second_moment(const float*, std::size_t, std::size_t, float*, Part);
template void add_second_moment(const std::uint16_t*, std::size_t, std::size_t, float*, Part);
template void add_cross_moment(const float*, const float*, std::size_t, std::size_t, std::size_t,
                               float*, Part);
template void add_cross_moment(const std::uint16_t*, const std::uint16_t*, std::size_t, std::size_t,
                               std::size_t, float*, Part);

}  // namespace tersor

// AMX: linears of many tokens by tiles of 8-bit integers, attention by tiles of bfloat16; all else as with
// AVX-512 BF16.
#include "kernels/kernels.hpp"

// Compilers before GCC 11 and Clang 12 do not know it, and only Linux has to be asked for it.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__linux__)

#include "kernels/amx/attention.hpp"
#include "kernels/amx/linear.hpp"

namespace tersor {
namespace {

Kernels made() {
  Kernels kernels = *avx512_bf16_kernels();
  kernels.name = "amx";
  kernels.linear = linear;
  kernels.attend = attend;
  kernels.multiply_only = multiply_only;
  return kernels;
}

}  // namespace

const Kernels* amx_kernels() {
  static const Kernels kernels = made();
  return &kernels;
}

}  // namespace tersor

#else

namespace tersor {
const Kernels* amx_kernels() { return nullptr; }
}  // namespace tersor

#endif

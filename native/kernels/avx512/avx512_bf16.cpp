// AVX-512 BF16: attention on bfloat16 in one instruction for two products; all else as with AVX-512 VNNI.
#include "kernels/kernels.hpp"

// Compilers before GCC 10 and Clang 9 do not know it.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__AVX512BF16__)

#include "kernels/every_set/attention.hpp"
#include "kernels/every_set/elementwise.hpp"

namespace tersor {
namespace {

Kernels made() {
  Kernels kernels = *avx512_vnni_kernels();
  kernels.name = "avx512_bf16";
  kernels.norm = norm;
  kernels.add = add;
  kernels.rotate = rotate;
  kernels.gate = gate_with;
  kernels.soft_cap = soft_cap;
  kernels.store = store;
  kernels.attend = attend;
  return kernels;
}

}  // namespace

const Kernels* avx512_bf16_kernels() {
  static const Kernels kernels = made();
  return &kernels;
}

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx512_bf16_kernels() { return nullptr; }
}  // namespace tersor

#endif

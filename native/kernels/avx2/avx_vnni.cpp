// Linears with AVX-VNNI: vectors of 256 bits on processors without AVX-512.
#include "kernels/kernels.hpp"

// Compilers before GCC 11 and Clang 12 do not know it.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__AVXVNNI__)

#include "kernels/avx2/vnni_linear.hpp"
#include "kernels/every_set/level_table.hpp"

namespace tersor {
namespace {

constexpr Kernels kKernels = table_of("avx_vnni", linear, multiply_only);

}  // namespace

const Kernels* avx_vnni_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx_vnni_kernels() { return nullptr; }
}  // namespace tersor

#endif

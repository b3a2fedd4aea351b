// The code of avx_vnni.cpp with the same instruction of AVX-512: it lets processors that have only that run the
// tests of the other.
#include "kernels/kernels.hpp"

#if defined(__x86_64__) && defined(__GNUC__)

#include "kernels/avx2/vnni_linear.hpp"
#include "kernels/every_set/level_table.hpp"

namespace tersor {
namespace {

constexpr Kernels kKernels = table_of("avx512vl_vnni", linear, multiply_only);

}  // namespace

const Kernels* avx512vl_vnni_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx512vl_vnni_kernels() { return nullptr; }
}  // namespace tersor

#endif

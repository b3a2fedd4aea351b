// Linears with AVX-VNNI: vectors of 256 bits on processors without AVX-512.
#include "kernels/kernels.hpp"

// Compilers before GCC 11 and Clang 12 do not know it.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__AVXVNNI__)

#include "kernels/avx2/vnni_linear.hpp"
#include "kernels/every_set/attention.hpp"
#include "kernels/every_set/elementwise.hpp"
#include "kernels/every_set/float_linear.hpp"
#include "kernels/every_set/quantize.hpp"

namespace tersor {
namespace {

const Kernels kKernels = {"avx_vnni", quantize_tokens, linear, float_linear, norm, add, rotate,
                          gate_with, soft_cap, store, attend, multiply_only};

}  // namespace

const Kernels* avx_vnni_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx_vnni_kernels() { return nullptr; }
}  // namespace tersor

#endif

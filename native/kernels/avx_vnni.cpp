// Linears with AVX-VNNI: vectors of 256 bits on processors without AVX-512.
#include "kernels.hpp"

// Compilers before GCC 11 and Clang 12 do not know it.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__AVXVNNI__)

#define TERSOR_DPBUSD _mm256_dpbusd_avx_epi32

#include <immintrin.h>

namespace tersor {
namespace {

#include "vectors16.inl"
#include "half.inl"
#include "elementwise.inl"
#include "attention.inl"
#include "float_linear.inl"
#include "quantize.inl"
#include "halves.inl"
#include "vnni256.inl"

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

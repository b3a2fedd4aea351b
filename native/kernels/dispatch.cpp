// Which kernels this machine can run.
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels/kernels.hpp"

namespace tersor {
namespace {

// __builtin_cpu_supports asks the processor and, by XGETBV, whether the system keeps its registers.
bool runs_avx2() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

// GCC 12 does not know AVX-VNNI by name: leaf 7, subleaf 1, bit 4 of eax. Its registers are AVX2's.
bool runs_avx_vnni() {
#if defined(__x86_64__) && defined(__GNUC__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return runs_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
#else
  return false;
#endif
}

bool runs_avx512_vnni() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && runs_avx2();
#else
  return false;
#endif
}

bool runs_avx512_bf16() {
#if defined(__x86_64__) && defined(__GNUC__)
  return runs_avx512_vnni() && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

// Leaf 7, edx: bits 22, 24 and 25 for products of bfloat16, tiles and products of 8-bit integers. Tiles are 8 kB
// of registers that the system keeps only for processes that ask for them.
bool finds_amx() {
#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
  constexpr unsigned kNeeded = 1u << 22 | 1u << 24 | 1u << 25;
  constexpr int kRequest = 0x1023, kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return runs_avx512_bf16() && amx_kernels() != nullptr && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
         (d & kNeeded) == kNeeded && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

// Asked once: under a hypervisor the question takes longer than a small product.
bool runs_amx() {
  static const bool found = finds_amx();
  return found;
}

// Bit 20 is HWCAP_ASIMDDP; headers of older systems do not name it.
bool runs_neon_dotprod() {
#if defined(__aarch64__) && defined(__linux__)
  return (getauxval(AT_HWCAP) >> 20 & 1) != 0;
#else
  return false;
#endif
}

// Bit 13 is HWCAP2_I8MM.
bool runs_neon_i8mm() {
#if defined(__aarch64__) && defined(__linux__)
  return runs_neon_dotprod() && (getauxval(AT_HWCAP2) >> 13 & 1) != 0;
#else
  return false;
#endif
}

}  // namespace

const Kernels* best_kernels() {
  if (runs_amx()) return amx_kernels();
  if (runs_avx512_bf16() && avx512_bf16_kernels() != nullptr) return avx512_bf16_kernels();
  if (runs_avx512_vnni()) return avx512_vnni_kernels();
  if (runs_avx_vnni() && avx_vnni_kernels() != nullptr) return avx_vnni_kernels();
  if (runs_avx2()) return avx2_kernels();
  if (runs_neon_i8mm() && neon_i8mm_kernels() != nullptr) return neon_i8mm_kernels();
  if (runs_neon_dotprod() && neon_dotprod_kernels() != nullptr) return neon_dotprod_kernels();
  return portable_kernels();
}

const Kernels* kernels_named(const char* name) {
  if (runs_amx() && std::strcmp(name, "amx") == 0) return amx_kernels();
  if (runs_avx512_bf16() && std::strcmp(name, "avx512_bf16") == 0) return avx512_bf16_kernels();
  if (runs_avx512_vnni() && std::strcmp(name, "avx512_vnni") == 0) return avx512_vnni_kernels();
  if (runs_avx512_vnni() && std::strcmp(name, "avx512vl_vnni") == 0) return avx512vl_vnni_kernels();
  if (runs_avx_vnni() && std::strcmp(name, "avx_vnni") == 0) return avx_vnni_kernels();
  if (runs_avx2() && std::strcmp(name, "avx2") == 0) return avx2_kernels();
  if (runs_neon_i8mm() && std::strcmp(name, "neon_i8mm") == 0) return neon_i8mm_kernels();
  if (runs_neon_dotprod() && std::strcmp(name, "neon_dotprod") == 0) return neon_dotprod_kernels();
  return std::strcmp(name, "portable") == 0 ? portable_kernels() : nullptr;
}

}  // namespace tersor

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

bool runs_always() { return true; }

struct Level {
  const char* name;
  bool (*runs)();
  const Kernels* (*kernels)();
  bool is_for_tests = false;  // taken by its name only

  const Kernels* here() const { return runs() ? kernels() : nullptr; }
};

// The best first.
constexpr Level kLevels[] = {
    {.name = "amx", .runs = runs_amx, .kernels = amx_kernels},
    {.name = "avx512_bf16", .runs = runs_avx512_bf16, .kernels = avx512_bf16_kernels},
    {.name = "avx512_vnni", .runs = runs_avx512_vnni, .kernels = avx512_vnni_kernels},
    {.name = "avx512vl_vnni", .runs = runs_avx512_vnni, .kernels = avx512vl_vnni_kernels, .is_for_tests = true},
    {.name = "avx_vnni", .runs = runs_avx_vnni, .kernels = avx_vnni_kernels},
    {.name = "avx2", .runs = runs_avx2, .kernels = avx2_kernels},
    {.name = "neon_i8mm", .runs = runs_neon_i8mm, .kernels = neon_i8mm_kernels},
    {.name = "neon_dotprod", .runs = runs_neon_dotprod, .kernels = neon_dotprod_kernels},
    {.name = "portable", .runs = runs_always, .kernels = portable_kernels},
};

}  // namespace

const Kernels* best_kernels() {
  for (const Level& level : kLevels) {
    const Kernels* const found = level.is_for_tests ? nullptr : level.here();
    if (found != nullptr) return found;
  }
  return portable_kernels();
}

const Kernels* kernels_named(const char* name) {
  for (const Level& level : kLevels) {
    if (std::strcmp(name, level.name) == 0) return level.here();
  }
  return nullptr;
}

const Kernels* kernels_at(std::size_t index) {
  for (const Level& level : kLevels) {
    const Kernels* const found = level.here();
    if (found != nullptr && index-- == 0) return found;
  }
  return nullptr;
}

}  // namespace tersor

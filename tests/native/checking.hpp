// What the checks of native code share.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/kernels.hpp"

using namespace tersor;

inline std::mt19937 chance(1);

inline int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(chance); }

inline std::vector<float> floats(std::size_t count, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> made(count);
  for (float& value : made) value = normal(chance);
  return made;
}

inline void require(bool ok, const char* what, const char* level) {
  if (ok) return;
  std::fprintf(stderr, "%s at level %s\n", what, level);
  std::exit(1);
}

inline bool close(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(a[i] - b[i]) <= tolerance * (1.0f + std::fabs(b[i])))) return false;
  }
  return true;
}

// The portable one first: others are compared with it.
inline std::vector<const Kernels*> levels() {
  std::vector<const Kernels*> found;
  for (std::size_t i = 0; kernels_at(i) != nullptr; ++i) found.insert(found.begin(), kernels_at(i));
  return found;
}

// The one way to force inlining.
//
// What runs with other instructions than its file's has to become part of the function that chose them. And what
// files for different instruction sets share must not survive as a function of its own: the linker keeps one of
// them, perhaps the one that this machine cannot run. Whoever writes no class member adds `inline`.
#pragma once

#define TERSOR_INLINE __attribute__((always_inline))

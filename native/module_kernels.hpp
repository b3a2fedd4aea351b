#pragma once

#include <nanobind/nanobind.h>

void define_kernels(nanobind::module_& m);

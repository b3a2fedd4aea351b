#pragma once

#include <nanobind/nanobind.h>

void define_ranges(nanobind::module_& m);

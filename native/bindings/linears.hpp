#pragma once

#include <nanobind/nanobind.h>

void define_linears(nanobind::module_& m);

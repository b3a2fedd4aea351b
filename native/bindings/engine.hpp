#pragma once

#include <nanobind/nanobind.h>

void define_engine(nanobind::module_& m);

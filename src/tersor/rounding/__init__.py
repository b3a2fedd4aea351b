"""Rounding: which code does each weight get? One method per file."""

from tersor.rounding.drift import corrected_target
from tersor.rounding.gptq import Gptq, gptq
from tersor.rounding.hessian_factor import HessianFactor, Order, hessian_factor
from tersor.rounding.method import BaseRounder, BaseRounding, Rounded, Rounder
from tersor.rounding.nearest import Nearest, nearest

__all__ = [
    "BaseRounder",
    "BaseRounding",
    "Gptq",
    "HessianFactor",
    "Nearest",
    "Order",
    "Rounded",
    "Rounder",
    "corrected_target",
    "gptq",
    "hessian_factor",
    "nearest",
]

"""What will happen to every tensor, and how large the result will be, before any weight is read."""

from tersor.pipeline.planning.make import make_plan
from tersor.pipeline.planning.plan import ModulePlan, Plan, TensorPlan, Unit

__all__ = ["ModulePlan", "Plan", "TensorPlan", "Unit", "make_plan"]

"""Decision policies: what makes a probability a class, and how many models must have answered."""

from model_weights.policies.policy import Policy, load_policies, parse_policy

__all__ = ["Policy", "load_policies", "parse_policy"]

"""The self-check: one phantom a day through the whole platform, held against what the same weights said before."""

from workers.self_check.monitor import SelfCheck

__all__ = ["SelfCheck"]

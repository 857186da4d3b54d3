"""Decision policies: what makes a probability a class, and how many models must have answered."""

from model_weights.policies.calibration import Calibration, CalibrationLine, find_line, parse_calibration
from model_weights.policies.finding_texts import FindingText, read_finding_texts
from model_weights.policies.finding_thresholds import FindingThresholds, parse_finding_thresholds
from model_weights.policies.policy import Policy, load_policies, parse_policy, read_policy
from model_weights.policies.reconstruction import ReconstructionOptions, read_reconstruction

__all__ = [
    "Calibration",
    "CalibrationLine",
    "FindingText",
    "FindingThresholds",
    "Policy",
    "ReconstructionOptions",
    "find_line",
    "load_policies",
    "parse_calibration",
    "parse_finding_thresholds",
    "parse_policy",
    "read_finding_texts",
    "read_policy",
    "read_reconstruction",
]

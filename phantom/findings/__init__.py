"""Findings: each changes the plan of the body, or the painted chest, and says what it did and where."""

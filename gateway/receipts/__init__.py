"""Receipts: that a result is what was published, signed when it was."""

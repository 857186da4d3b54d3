"""Limits: every one of them in one answer."""

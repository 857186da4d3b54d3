"""Entry points that make weights."""

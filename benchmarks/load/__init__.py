"""Load: studies that arrive whether or not the platform keeps up, and what became of each of them."""

"""The healthy chest: a body plan drawn by seed, and organs painted after it."""

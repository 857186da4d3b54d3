"""Health: alive, ready, and in numbers."""

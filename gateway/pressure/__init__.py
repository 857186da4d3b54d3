"""Back-pressure: whether one more study can be taken in, decided before a byte of it is read."""

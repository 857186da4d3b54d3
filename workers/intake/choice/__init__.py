"""Which stack is read, and why. Pure functions; every candidate is returned with its score and its reason."""

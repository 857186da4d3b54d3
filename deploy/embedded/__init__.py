"""The embedded stack: the whole platform in one process tree, from wheels."""

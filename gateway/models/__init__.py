"""Models: what runs here, and what does not."""

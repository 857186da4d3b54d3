"""Training the demo fVLM on phantoms and their organs."""

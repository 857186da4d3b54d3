"""fVLM: findings by name, each looked for in the organ that it belongs to."""

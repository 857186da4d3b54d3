"""fVLM at its published size: a plain network beside the one that the stage runs."""

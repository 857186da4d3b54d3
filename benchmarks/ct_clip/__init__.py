"""CT-CLIP's image side at full size on the CPU: a straightforward implementation beside the one that the stage runs."""

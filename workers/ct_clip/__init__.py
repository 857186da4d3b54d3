"""CT-CLIP: findings by name, from one image encoder and one text encoder that share a space."""

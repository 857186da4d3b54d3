"""The supervised classifiers: a linear head on CT-CLIP's image latents, the product's and the public one (LiPro)."""

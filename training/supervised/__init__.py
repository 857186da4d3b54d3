"""Training of the supervised head on CT-CLIP's image latents: from a site's own studies, and from phantoms."""

"""Training of the demo segmentation: a small nnU-Net for TotalSegmentator's task `total`, from phantoms."""

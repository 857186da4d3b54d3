"""MedNeXt: 22-class multilabel 3-D CNN."""

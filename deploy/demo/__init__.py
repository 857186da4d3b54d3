"""`ctclip demo`: a real chest CT and a phantom through the whole platform. The CT has a licence of its own: NOTICE."""

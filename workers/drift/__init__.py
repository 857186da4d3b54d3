"""Label-free drift: whether the features of recent studies are distributed as those that the fusion was trained on."""

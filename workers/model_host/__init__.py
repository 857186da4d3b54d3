"""What the models of one process share: the device, preparations, memory; and in which precision a model runs."""

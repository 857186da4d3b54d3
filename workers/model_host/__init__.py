"""What the models of one process share: the device, preparations, memory; and whether a precision may be used."""

"""The state of the platform at scale: the same look-ups on a full and on an empty database, side by side."""

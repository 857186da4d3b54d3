"""`ctclip backup` and `ctclip restore`: rows of one moment, the objects that they name, and a digest of each."""

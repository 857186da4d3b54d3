"""Server-side commands that join `ctclip`."""

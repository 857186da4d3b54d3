"""Commands of whoever runs the platform: its keys, and the log of what was done. They go to the database itself."""

"""Commands of whoever runs the platform: its jobs, its dead letters, its models. They go to the database itself."""

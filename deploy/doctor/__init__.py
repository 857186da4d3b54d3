"""`ctclip doctor`: looks at every link that the platform hangs by, and names the broken one."""

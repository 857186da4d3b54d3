"""The routes of the predecessor: the same shapes, over the job API."""

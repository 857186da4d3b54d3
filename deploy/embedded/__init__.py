"""The whole platform on one machine: real servers from wheels and our own processes under one supervisor.

Nothing outside this package knows that the servers are embedded: they are reached by the same `CTCLIP_*` settings
as any others, and each may be replaced by setting its address in the environment.
"""

"""Exit statuses of `ctclip`. 2 is wrong usage, as everywhere; from 64 on they are those of `sysexits.h`."""

NO_RESULT = 1
"""A job has ended without a result, or the API refused."""

TRY_AGAIN = 75
"""Nothing answers, or the wait expired: the same command may do later (EX_TEMPFAIL)."""

NOT_ALLOWED = 77
"""The API key is missing, unknown or may not do that (EX_NOPERM)."""

INTERRUPTED = 130
"""Stopped by Ctrl-C."""

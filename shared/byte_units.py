"""Units of memory, for whoever needs a number and not all settings."""

from __future__ import annotations

MIB = 1024 * 1024
GIB = 1024 * MIB

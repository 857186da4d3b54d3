"""Reading of ZIP archives as data: entry names never become paths, and declared sizes are never believed."""

from workers.intake.archive.content import ExpansionBudget, iterate_content
from workers.intake.archive.directory import Entry, read_directory
from workers.intake.archive.source import ByteSource, FileSource, HttpSource

__all__ = [
    "ByteSource",
    "Entry",
    "ExpansionBudget",
    "FileSource",
    "HttpSource",
    "iterate_content",
    "read_directory",
]

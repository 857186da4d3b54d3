"""Reading of ZIP archives as data: entry names never become paths, and declared sizes are never believed."""

from workers.intake.archive.content import ExpansionBudget
from workers.intake.archive.folder import open_folder
from workers.intake.archive.members import Member, open_zip
from workers.intake.archive.source import ByteSource, FileSource, HttpSource

__all__ = [
    "ByteSource",
    "ExpansionBudget",
    "FileSource",
    "HttpSource",
    "Member",
    "open_folder",
    "open_zip",
]

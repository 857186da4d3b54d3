"""Hooks of MkDocs: pages that lie outside docs/, such as README and model cards, are pages of the site too.

A link from one page to another is written as GitHub resolves it, by files of the repository. Here it is turned towards
the page of the site. What is no page, such as a module, is named without a link.
"""

from __future__ import annotations

import os.path
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "README.ru.md": "ru/index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "THIRD_PARTY.md": "THIRD_PARTY.md",
}
"""Pages outside docs/, and where the site has them."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def list_outside() -> dict[str, str]:
    """Return every page outside docs/ as a file of the repository, with its place in the site."""
    cards = sorted((ROOT / "model_weights" / "demo").glob("*/card.md"))
    return OUTSIDE | {str(card.relative_to(ROOT)): f"cards/{card.parent.name}.md" for card in cards}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for source, uri in list_outside().items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs names them
    """Turn links between files of the repository into links between pages, outside of code."""
    parts = _FENCE.split(markdown)
    return "".join(part if index % 2 else _turn_links(part, page.file.src_uri) for index, part in enumerate(parts))


def _turn_links(text: str, uri: str) -> str:
    return _LINK.sub(lambda found: _turn_link(found, uri), text)


def _turn_link(found: re.Match[str], uri: str) -> str:
    mark, words, target, anchor = found.groups()
    sources = {place: source for source, place in list_outside().items()}
    source = sources.get(uri, f"docs/{uri}")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = _find_place(wanted)
    if place is None and (ROOT / wanted).exists():
        return words
    leads_to = posixpath.relpath(place, posixpath.dirname(uri) or ".") if place else target
    return f"{mark}[{words}]({leads_to}{anchor or ''})"


def _find_place(wanted: str) -> str | None:
    """Return where the site has a file of the repository."""
    if wanted in (outside := list_outside()):
        return outside[wanted]
    inside = os.path.relpath(wanted, "docs")
    if inside.startswith(".."):
        return None
    return posixpath.join(inside, "README.md") if (ROOT / wanted).is_dir() else inside

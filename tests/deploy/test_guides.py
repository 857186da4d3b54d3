"""The guides in both languages, what they give to Helm, and the site that is built of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.checking.chart import find_faults, render
from tests.pages import ROOT, list_commands, read_blocks

DOCS = ROOT / "docs"
GUIDES = ("USER_GUIDE.md", "DEPLOYMENT_GUIDE.md", "OPERATIONS.md")
LEVEL = re.compile(r"^(#+) (.*)$", re.MULTILINE)
CODE = re.compile(r"<pre.*?</pre>|<script.*?</script>|<head.*?</head>", re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def list_headings(page: Path) -> list[tuple[str, str]]:
    return LEVEL.findall(FENCE.sub("", page.read_text("utf-8")))


@pytest.mark.parametrize("name", GUIDES)
class TestBothLanguages:
    def test_tell_to_type_the_same(self, name: str) -> None:
        english, russian = DOCS / name, DOCS / "ru" / name
        assert list_commands(russian) == list_commands(english) != []
        assert [block.text for block in read_blocks(russian) if block.language == "yaml"] == [
            block.text for block in read_blocks(english) if block.language == "yaml"
        ]

    def test_have_the_same_parts(self, name: str) -> None:
        english, russian = list_headings(DOCS / name), list_headings(DOCS / "ru" / name)
        assert [level for level, _ in russian] == [level for level, _ in english]
        alerts = [words for _, words in english if words.startswith("Ctclip")]
        assert [words for _, words in russian if words.startswith("Ctclip")] == alerts


class TestTheValuesOfTheDeploymentGuide:
    def test_render_into_what_kubernetes_takes_under_the_names_of_the_guide(self) -> None:
        page = DOCS / "DEPLOYMENT_GUIDE.md"
        (values,) = [block.text for block in read_blocks(page) if block.name.startswith("images:")]
        made = render(yaml.safe_load(values), release="ct")
        assert not [fault for one in made for fault in find_faults("DEPLOYMENT_GUIDE.md", one)]
        named = set(re.findall(r"deploy/(ct-[\w-]+)", page.read_text("utf-8")))
        assert named <= {one["metadata"]["name"] for one in made if one["kind"] == "Deployment"}
        assert named


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make site` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class TestTheSite:
    def test_has_guides_readmes_and_model_cards(self, site: Path) -> None:
        pages = ("index.html", "ru/index.html", "USER_GUIDE.html", "ru/OPERATIONS.html", "cards/fusion.html")
        assert all((site / page).exists() for page in pages)

    def test_leads_from_a_file_of_the_repository_to_its_page(self, site: Path) -> None:
        assert 'href="../USER_GUIDE.html"' in (site / "ru" / "USER_GUIDE.html").read_text("utf-8")
        assert 'href="cards/fusion.html"' in (site / "index.html").read_text("utf-8")

    def test_asks_no_address_of_others(self, site: Path) -> None:
        asked = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:)?//")
        assert not [page for page in site.rglob("*.html") if asked.search(page.read_text("utf-8"))]

    def test_shows_no_table_and_no_list_as_it_was_typed(self, site: Path) -> None:
        typed = re.compile(r"^(\||- |\d+\. )", re.MULTILINE)
        pages = {page: CODE.sub("", page.read_text("utf-8")) for page in site.rglob("*.html")}
        assert not [page.name for page, text in pages.items() if typed.search(text)]

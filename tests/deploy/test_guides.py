"""The guides in both languages, what they give to Helm, and the site that is built of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checking.chart import find_faults, render
from tests.pages import ROOT, list_commands, list_statements, read_blocks

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

    def test_ask_for_no_secret_that_the_guide_does_not_make(self) -> None:
        page = DOCS / "DEPLOYMENT_GUIDE.md"
        (values,) = [block.text for block in read_blocks(page) if block.name.startswith("images:")]
        asked = {key for one in render(yaml.safe_load(values)) for key in find_keys(one)}
        assert asked <= set(re.findall(r"> cluster-secret/(\w+)$", page.read_text("utf-8"), re.MULTILINE))
        assert "keda_postgresql_connection" in asked


def find_keys(node: object) -> Iterator[str]:
    """Yield the names of all keys of secrets below a node."""
    if isinstance(node, dict):
        if "key" in node and node.keys() & {"path", "parameter"}:
            yield str(node["key"])
        node = list(node.values())
    if isinstance(node, list):
        for below in node:
            yield from find_keys(below)


# What the guide pipes between: it tells of the chart's Deployment, and keeps what it is told to make.
KUBECTL = """#!/bin/sh
case "$*" in
    *" get deployment ct-control "*) cat control.json ;;
    *" create -f -") cat > job.json ;;
    *) exit 99 ;;
esac
"""


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("command", ["backup", "restore"])
class TestTheJobsOfTheDeploymentGuide:
    @pytest.fixture
    def job(self, command: str, tmp_path: Path) -> dict[str, Any]:
        """What the guide's own command makes of the chart's control."""
        made = render({"control": {"replicas": 0}})
        (control,) = [one for one in made if (one["kind"], one["metadata"]["name"]) == ("Deployment", "ct-control")]
        (tmp_path / "control.json").write_text(json.dumps(control))
        (tmp_path / "kubectl").write_text(KUBECTL)
        (tmp_path / "kubectl").chmod(0o755)
        (tmp_path / "deploy").symlink_to(ROOT / "deploy")
        blocks = [block.text for block in read_blocks(DOCS / "DEPLOYMENT_GUIDE.md")]
        (statement,) = [
            one
            for text in blocks
            for one in list_statements(text)
            if f"job.jq --arg claim ctclip-backups --args ctclip {command}" in one
        ]
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-euo", "pipefail", "-c", statement], cwd=tmp_path, env=environment, check=True)
        read: dict[str, Any] = json.loads((tmp_path / "job.json").read_text())
        return read

    def test_are_such_as_kubernetes_takes(self, job: dict[str, Any]) -> None:
        assert list(find_faults("DEPLOYMENT_GUIDE.md", job)) == []

    def test_run_one_command_beside_the_claim_and_confined_as_control_is(
        self, command: str, job: dict[str, Any]
    ) -> None:
        assert job["metadata"]["name"] == f"ct-{command}"
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["ctclip", command, "/backups/monday"]
        assert {"name": "backups", "mountPath": "/backups"} in container["volumeMounts"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container.keys() & {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle"}
        volumes = job["spec"]["template"]["spec"]["volumes"]
        assert {"name": "backups", "persistentVolumeClaim": {"claimName": "ctclip-backups"}} in volumes

    def test_reach_what_control_reaches_and_count_as_no_control(self, job: dict[str, Any]) -> None:
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels["ctclip/role"] == "worker"
        budgets = [one["spec"]["selector"]["matchLabels"] for one in render({}) if one["kind"] == "PodDisruptionBudget"]
        assert not [selector for selector in budgets if selector.items() <= labels.items()]


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

"""What images install, and what is laid out for them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy.checking.advisories import describe
from deploy.docker.requirements import IMAGES, list_pins, locate_list, read_pins
from tests.deploy.compose import ROOT, prepare

DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
# Imports what an image starts while everything that it does not install is hidden.
IMPORT = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import gateway.__main__, migrations.__main__, client.command
"""


def list_hidden(image: str) -> set[str]:
    """Return the top-level modules of all that is installed here and not in an image."""
    listed = {canonicalize_name(pin.split("==")[0]) for pin in read_pins(image)}
    kept: set[str] = set()
    hidden: set[str] = set()
    for package in distributions():
        tops = {file.parts[0].removesuffix(".py") for file in package.files or () if file.suffix in {".py", ".so"}}
        (kept if canonicalize_name(package.name) in listed else hidden).update(tops)
    return hidden - kept - sys.stdlib_module_names - {"..", "client", "gateway", "migrations", "shared"}


class TestLists:
    @pytest.mark.parametrize("image", IMAGES)
    def test_are_those_of_the_lock(self, image: str) -> None:
        assert read_pins(image) == list_pins(image)

    @pytest.mark.parametrize("image", IMAGES)
    def test_tell_the_files_of_every_package(self, image: str) -> None:
        packages = re.split(r"\n(?=\w)", locate_list(image).read_text("utf-8").strip())[1:]
        assert len(packages) == len(read_pins(image))
        for package in packages:
            pin, *hashes = package.split(" \\\n    ")
            assert hashes, pin
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin

    def test_of_the_gateway_suffice_for_it(self) -> None:
        hidden = list_hidden("gateway")
        assert {"torch", "numpy", "celery"} <= hidden
        done = subprocess.run(
            [sys.executable, "-c", f"HIDDEN = {hidden!r}\n{IMPORT}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


class TestDockerfile:
    def test_takes_only_files_of_the_lists(self) -> None:
        installs = re.findall(r"pip install [^\n]*-r /build/\S+", DOCKERFILE)
        assert len(installs) == 3
        assert all("--require-hashes" in install for install in installs)

    def test_lets_torch_find_what_it_depends_on(self) -> None:
        for target in ("worker-cpu", "worker-gpu"):
            stage = DOCKERFILE.split(f" AS build-{target}\n", 1)[1].split("\nFROM ", 1)[0]
            assert 0 < stage.index("--require-hashes") < stage.index("$(grep '^torch=='"), target

    def test_runs_nothing_as_root(self) -> None:
        for target in ("gateway", "worker-cpu", "worker-gpu"):
            stage = DOCKERFILE.split(f" AS {target}\n", 1)[1].split("\nFROM ", 1)[0]
            assert "\nUSER 10001:10001" in stage, target

    def test_has_no_weights(self) -> None:
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        assert {"*", "model_weights/demo", "**/*.safetensors"} <= set(ignored)
        allowed = {line[1:] for line in ignored if line.startswith("!")}
        copied = set(re.findall(r"^COPY (?!--from)(\w[\w.]*) \./", DOCKERFILE, re.MULTILINE))
        assert copied <= allowed

    def test_copies_what_there_is(self) -> None:
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source


class TestPreparing:
    def test_gives_servers_and_their_clients_the_same_passwords(self, tmp_path: Path) -> None:
        prepare(tmp_path, "rabbitmq", "cpu")
        secrets = {path.name: path.read_text().strip() for path in (tmp_path / "secrets").iterdir()}
        assert f":{secrets['postgres_password']}@postgres:5432/" in secrets["ctclip_database_url"]
        broker = secrets["broker_password"]
        assert secrets["ctclip_broker_url"] == f"amqp://ctclip:{broker}@rabbitmq:5672//"
        assert secrets["valkey_conf"] == f"requirepass {broker}"
        assert f"default_pass = {broker}" in secrets["rabbitmq_conf"]
        assert "COMPOSE_PROFILES=rabbitmq,cpu,monitoring\n" in (tmp_path / ".env").read_text()

    def test_keeps_what_is_there(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        before = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        subprocess.run(["sh", str(tmp_path / "deploy/docker/prepare.sh"), "rabbitmq"], check=True, capture_output=True)
        after = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        assert {name for name in before if before[name] != after[name]} == {"ctclip_broker_url"}
        assert after["ctclip_broker_url"].startswith("amqp://")

    def test_keeps_the_address_of_a_broker_of_ones_own(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        address = tmp_path / "secrets" / "ctclip_broker_url"
        address.chmod(0o644)
        address.write_text("rediss://:own@valkey.example.org:6379/0\n")
        script = ["sh", str(tmp_path / "deploy/docker/prepare.sh"), "valkey"]
        told = subprocess.run(script, check=True, capture_output=True, text=True).stdout
        assert address.read_text() == "rediss://:own@valkey.example.org:6379/0\n"
        assert "names a broker of your own" in told


class TestStarting:
    def test_forgets_that_it_was_ready_before(self, tmp_path: Path) -> None:
        ready = tmp_path / "ready"
        ready.touch()
        start = ROOT / "deploy" / "docker" / "start.sh"
        done = subprocess.run(
            [str(start), "sh", "-c", f"test ! -e {ready}"], env={"CTCLIP_READY_FILE": str(ready)}, check=False
        )
        assert done.returncode == 0


class TestAdvisories:
    def test_are_told_by_package_with_what_mends_them(self) -> None:
        known = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
        packages = [
            {"name": "a", "version": "1.0", "vulns": [known]},
            {"name": "b", "version": "1.0", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ]
        assert describe({"dependencies": packages}) == (["a 1.0: PYSEC-1, mended in 2.0"], 1)

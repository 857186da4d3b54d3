"""Pages of documentation as tests read them: their fenced blocks, and a shell that runs these as a reader would."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT_S = 240
SHELL = ("", "bash")
DATA: Mapping[str, Callable[[str], object]] = {
    "json": json.loads,
    "csv": lambda text: list(csv.reader(text.splitlines())),
}
ANY_STATUS = (0, 1, 2)

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"\s+#.*$|^#.*$", re.MULTILINE)
# What stands for a word of the reader's, and how it looks where a command prints it.
_PRINTED = {
    "ID": re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "NUMBER:SHA256": re.compile(r"\d+:[0-9a-f]{64}"),
}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str

    @property
    def name(self) -> str:
        """The first line, by which a test names the block."""
        return _COMMENT.sub("", self.text).strip().split("\n")[0]


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    return [Block(language, text) for language, text in _FENCE.findall(page.read_text("utf-8"))]


def list_statements(script: str) -> list[str]:
    """Cut a script into its statements; one that goes on over several lines stays whole."""
    statements: list[str] = []
    begun = ""
    for line in script.splitlines(keepends=True):
        begun += line
        if not line.endswith("\\\n") and _is_whole(begun):
            statements.append(begun.strip())
            begun = ""
    assert not begun, f"this statement has no end: {begun}"
    return [statement for statement in statements if _COMMENT.sub("", statement)]


def list_commands(page: Path) -> list[str]:
    """Return what a page tells to type, without comments."""
    shown = [_COMMENT.sub("", block.text) for block in read_blocks(page) if block.language in SHELL]
    return [line.rstrip() for text in shown for line in text.splitlines() if line.strip()]


def _is_whole(script: str) -> bool:
    return subprocess.run(["bash", "-n", "-c", script], capture_output=True, check=False).returncode == 0


@dataclass
class Shell:
    """A shell whose variables stay from one script to the next, in one folder.

    `ctclip` is that of these tests, and curl fails where an address answers with an error.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: str, statuses: Collection[int] = (0,)) -> str:
        """Run a script and return what it printed."""
        kept = self.folder / ".variables"
        kept.touch()
        wrapped = f'set -a; . "{kept}"; trap \'declare -px > "{kept}"\' EXIT\n{script}'
        return self._execute(["bash", "-euo", "pipefail", "-c", wrapped], script, statuses)

    def run_python(self, program: str) -> str:
        """Run a program and return what it printed."""
        return self._execute([sys.executable, "-c", program], program, (0,))

    def _execute(self, command: list[str], text: str, statuses: Collection[int]) -> str:
        (self.folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n", "utf-8")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "CURL_HOME": str(self.folder), **self.environment}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode in statuses, f"{text}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@dataclass
class Walk:
    """One reader's way through a page: every block is run, or left out for a reason that is given."""

    page: Path
    shell: Shell
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why a block is not run, by its name."""
    words: dict[str, str] = field(default_factory=dict)
    """What the reader puts in the place of words; ids and digests are learned from what is printed."""
    before: Callable[[str], None] = lambda statement: None
    """What the reader waits for before a statement."""
    statuses: Mapping[str, Collection[int]] = field(default_factory=dict)
    """Exit statuses of statements that may end otherwise than with 0."""

    def go(self) -> str:
        """Go through the page and return what it printed. Fails at the first example that cannot be run or fails."""
        blocks = read_blocks(self.page)
        strange = set(self.left_out) - {block.name for block in blocks}
        assert not strange, f"{self.page.name} has no such block any more: {strange}"
        return "".join([self._run(block) for block in blocks if block.name not in self.left_out])

    def _run(self, block: Block) -> str:
        if block.language in DATA:
            DATA[block.language](block.text)
            return ""
        if block.language == "python":
            return self.shell.run_python(block.text)
        assert block.language in SHELL, f"{self.page.name}: nobody knows how to run {block.language}: {block.name}"
        return self._run_statements(block)

    def _run_statements(self, block: Block) -> str:
        told = ""
        learned: dict[str, str] = {}
        for statement in list_statements(block.text):
            filled = self._fill(statement, {**self.words, **learned})
            self.before(filled)
            printed = self.shell.run(filled, self.statuses.get(_COMMENT.sub("", statement), (0,)))
            learned = {**dict(self._learn(printed)), **learned}
            told += printed
        return told

    def _fill(self, statement: str, words: Mapping[str, str]) -> str:
        for word, value in words.items():
            statement = re.sub(rf"(?<![\w$]){re.escape(word)}(?!\w)", value.replace("\\", r"\\"), statement)
        return statement

    def _learn(self, printed: str) -> Iterator[tuple[str, str]]:
        for word, pattern in _PRINTED.items():
            if found := pattern.search(printed):
                yield word, found.group()

"""`python -m deploy.checking.chart`: lint the chart, render it with every set of values, and check what comes out.

Helm's own library lints and renders; objects of Kubernetes are held against its published schemas, in which unknown
fields are refused, and those of KEDA against the schema of its resources. What a cluster asks of address blocks beyond
its schemas is asked here too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import helm_python
import jsonschema
import kubernetes_validate
import yaml

Manifest = dict[str, Any]
"""An object of Kubernetes, or values of the chart, as YAML says it."""

CHART = Path(__file__).resolve().parents[1] / "helm" / "ctclip"
DEFAULT = "values.yaml"
KUBERNETES_VERSIONS = ("1.29", "1.37")
"""The oldest and the newest whose schemas everything rendered must fit."""

_KEDA = "keda.sh/"
_WORST_ALLOWED = 1
"""Helm's severity of mere information, such as a chart without an icon."""


def main() -> int:
    """Print every fault, or what was checked; return the exit status."""
    faults = [*lint(), *(fault for name in list_value_sets() for fault in check(name))]
    print("\n".join(faults) or f"chart: {len(list_value_sets())} sets of values render into objects that fit")
    return 1 if faults else 0


def list_value_sets() -> list[str]:
    """Return the names of all sets of values: the defaults, and the examples beside them."""
    return [DEFAULT, *sorted(f"ci/{path.name}" for path in (CHART / "ci").glob("*.yaml"))]


def lint() -> list[str]:
    """Return what Helm's linter finds fault with."""
    found = helm_python.lint(CHART, {}, strict=True)
    return [f"chart: {one['error']}" for one in found["messages"] if one["severity"] > _WORST_ALLOWED]


def check(values_name: str) -> list[str]:
    """Return the faults of what a set of values renders into."""
    return [fault for made in render(read_values(values_name)) for fault in find_faults(values_name, made)]


def read_values(name: str) -> Manifest:
    """Return a set of values; that of the defaults is empty."""
    if name == DEFAULT:
        return {}
    return cast("Manifest", yaml.safe_load((CHART / name).read_text("utf-8")))


def render(values: Mapping[str, Any], *, release: str = "ct") -> list[Manifest]:
    """Return the objects that the chart makes of values. Raises helm_python.HelmError where it makes none."""
    files = helm_python.Chart.load(CHART).render(values=dict(values), name=release, namespace="imaging")
    documents = (yaml.safe_load_all(text) for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return [made for file in documents for made in file if made]


def find_faults(values_name: str, made: Manifest) -> Iterator[str]:
    """Yield what does not fit the schema of one object, and where."""
    where = f"{values_name}: {made['kind']} {made['metadata']['name']}"
    if made["apiVersion"].startswith(_KEDA):
        validator = jsonschema.Draft202012Validator(_read_keda_schema(made["kind"]))
        yield from (f"{where}: {error.json_path}: {error.message}" for error in validator.iter_errors(made))
        return
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(made, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{where}: Kubernetes {version}: {error.message}"
    yield from (f"{where}: {fault}" for block in _find_blocks(made) for fault in _find_block_faults(block))


def _find_blocks(node: object) -> Iterator[Mapping[str, Any]]:
    """Yield every `ipBlock` below a node."""
    if isinstance(node, dict):
        if "ipBlock" in node:
            yield node["ipBlock"]
        node = list(node.values())
    if isinstance(node, list):
        for below in node:
            yield from _find_blocks(below)


def _find_block_faults(block: Mapping[str, Any]) -> Iterator[str]:
    """Yield what no schema says: addresses are such, and each exception is a real part of its block."""
    try:
        whole = ip_network(block["cidr"], strict=False)
        parts = [ip_network(each, strict=False) for each in block.get("except", ())]
    except ValueError as error:
        yield f"ipBlock: {error}"
        return
    for part in parts:
        if part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]  # of one version
            yield f"ipBlock: {part} is not a part of {whole}, and less than all of it"


@cache
def _read_keda_schema(kind: str) -> Manifest:
    from cloudcoil.models.keda import v1alpha1  # noqa: PLC0415  # takes seconds, and few sets of values use it

    schema: Manifest = getattr(v1alpha1, kind).model_json_schema(by_alias=True)
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return schema


if __name__ == "__main__":
    sys.exit(main())

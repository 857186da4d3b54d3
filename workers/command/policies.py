"""`ctclip policies`: which policies are installed, and whether a file of a site's own could be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from model_weights.catalogue import ModelEntry, find_installed
from model_weights.policies import FindingText, Policy, load_policies, read_policy
from shared.errors import Defect
from shared.stages import StageName
from workers.command.models import DEFAULT_PROFILE, AsJson, Folder, Profile, WeightsPlace, told_defects

app = typer.Typer(no_args_is_help=True, help="List policies, and check one before it is installed.")

ADVICE: Mapping[str, str] = {
    "too_long": "its statements have more tokens than the installed CT-CLIP reads; shorten them",
    "unknown_words": "its statements hold words that the installed CT-CLIP does not know; use plain English",
    "same_statements": "its statements say the same; give both `present` and `absent`",
}
"""What to do about a finding text that the model cannot be asked with, by reason."""

SiteFolder = Annotated[
    Path | None,
    typer.Option("--policies-dir", envvar="CTCLIP_POLICIES_DIR", help="Folder with policies of your own."),
]


@app.command(name="list")
def list_policies(policies_dir: SiteFolder = None, as_json: AsJson = False) -> None:
    """List the policies that control would register at its start."""
    with told_defects():
        policies = load_policies(policies_dir)
    if as_json:
        typer.echo(json.dumps({"policies": [policy.to_document() for policy in policies]}))
        return
    for policy in policies:
        typer.echo(_describe(policy))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Policy as TOML.")],
    profile: Profile = DEFAULT_PROFILE,
    weights_dir: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a policy can be installed, and whether the installed CT-CLIP can be asked with its finding texts.

    Exit 1 when a text cannot be asked with, 2 when the policy cannot be installed.
    """
    with told_defects():
        policy = read_policy(file)
        _refuse_shipped_name(policy)
        entry = find_installed(WeightsPlace(profile, weights_dir), StageName.CT_CLIP)
        faults = _find_faults(entry, policy.finding_texts) if entry and policy.finding_texts else {}
    if as_json:
        model = None if entry is None else entry.name
        typer.echo(json.dumps({"policy": policy.to_document(), "model": model, "faults": faults}))
    else:
        typer.echo("\n".join([_describe(policy), *_explain(policy, entry, faults)]))
    raise typer.Exit(1 if faults else 0)


def _describe(policy: Policy) -> str:
    texts, options = len(policy.finding_texts), policy.reconstruction
    described = (
        f"{policy.id:<28} threshold {policy.threshold:g}, {policy.minimum_models} models needed, {texts} finding texts"
    )
    return described if options is None else f"{described}, anomaly map {options.when}"


def _explain(policy: Policy, entry: ModelEntry | None, faults: Mapping[str, str]) -> list[str]:
    if not policy.finding_texts:
        return []
    if entry is None:
        return ["No CT-CLIP is installed here: the finding texts were not held against its vocabulary."]
    names = [text.name for text in policy.finding_texts]
    return [f"  {name}: {ADVICE[faults[name]] if name in faults else 'can be asked for'}" for name in names]


def _refuse_shipped_name(policy: Policy) -> None:
    if policy.name in {shipped.name for shipped in load_policies()}:
        raise Defect(f"a policy named {policy.name!r} comes with the platform; give yours another name")


def _find_faults(entry: ModelEntry, texts: Sequence[FindingText]) -> dict[str, str]:
    # Brings torch, seconds that a policy without finding texts does without.
    site_findings = import_module("workers.ct_clip.site_findings")
    faults: dict[str, str] = site_findings.SiteFindings(entry, None).explain_unasked(texts)
    return faults

"""What breaks callers between two OpenAPI documents: what they may send no longer, or can rely on no longer. Pure.

Adding is no break: a path, an optional field, a field of an answer, a code. `python -m deploy.documents` refuses to
write a description that breaks, unless told `--breaking`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_REFERENCE = "#/components/schemas/"
# Limits of what may be sent: +1 where a higher number refuses less, -1 where it refuses more.
_LIMITS = {
    "maximum": 1,
    "maxLength": 1,
    "maxItems": 1,
    "maxProperties": 1,
    "minimum": -1,
    "minLength": -1,
    "minItems": -1,
}


def list_breaks(before: Document, after: Document) -> list[str]:
    """Return one line for everything that callers of `before` could do or read and of `after` cannot."""
    return list(dict.fromkeys(_compare_paths(before, after)))


def _compare_paths(before: Document, after: Document) -> Iterator[str]:
    for path, methods in before["paths"].items():
        for method in _METHODS:
            if method not in methods:
                continue
            where = f"{method.upper()} {path}"
            operation = after["paths"].get(path, {}).get(method)
            if operation is None:
                yield f"{where}: gone"
                continue
            yield from _compare_operations(_Pair(before, after, where), methods[method], operation)


@dataclass(frozen=True)
class _Pair:
    """Two documents, and the place that is compared."""

    before: Document
    after: Document
    where: str
    is_sent: bool = False
    seen: set[tuple[str, str, bool]] = field(default_factory=set)

    def step(self, name: str, *, is_sent: bool | None = None) -> _Pair:
        chosen = self.is_sent if is_sent is None else is_sent
        return _Pair(self.before, self.after, f"{self.where} {name}", chosen, self.seen)


def _compare_operations(pair: _Pair, before: Document, after: Document) -> Iterator[str]:
    yield from _compare_parameters(pair, before.get("parameters", ()), after.get("parameters", ()))
    sent = pair.step("body", is_sent=True)
    if "requestBody" not in before and after.get("requestBody", {}).get("required"):
        yield f"{sent.where}: newly required"
    yield from _compare_contents(sent, before.get("requestBody", {}), after.get("requestBody", {}))
    for status, answer in before.get("responses", {}).items():
        step = pair.step(status)
        if status.startswith("2") and status not in after.get("responses", {}):
            yield f"{step.where}: gone"
        else:
            yield from _compare_contents(step, answer, after.get("responses", {}).get(status, {}))


def _compare_parameters(pair: _Pair, before: Sequence[Document], after: Sequence[Document]) -> Iterator[str]:
    known, offered = ({(one["in"], one["name"]): one for one in side} for side in (before, after))
    for key, parameter in known.items():
        step = pair.step(f"{key[0]} {key[1]}", is_sent=True)
        if key not in offered:
            yield f"{step.where}: gone"
        else:
            yield from _compare_schemas(step, parameter.get("schema", {}), offered[key].get("schema", {}))
    for key, parameter in offered.items():
        was_required = key in known and known[key].get("required", False)
        if parameter.get("required", False) and not was_required:
            yield f"{pair.where} {key[0]} {key[1]}: newly required"


def _compare_contents(pair: _Pair, before: Document, after: Document) -> Iterator[str]:
    for media_type, content in before.get("content", {}).items():
        offered = after.get("content", {}).get(media_type)
        step = pair.step(media_type)
        if offered is None:
            # An answer of an error that is documented no more tells callers nothing that they relied on.
            if pair.is_sent or after:
                yield f"{step.where}: gone"
            continue
        yield from _compare_schemas(step, content.get("schema", {}), offered.get("schema", {}))


def _compare_schemas(pair: _Pair, before: Document, after: Document) -> Iterator[str]:
    key = (str(before.get("$ref", "")), str(after.get("$ref", "")), pair.is_sent)
    if any(key[:2]):
        if key in pair.seen:
            return
        pair.seen.add(key)
    old, new = _list_alternatives(pair.before, before), _list_alternatives(pair.after, after)
    yield from _compare_types(pair, set(old), set(new))
    for kind in old.keys() & new.keys():
        yield from _compare_alike(pair, old[kind], new[kind])


def _list_alternatives(document: Document, schema: Document) -> dict[str, Document]:
    """Return the schemas that a value may follow, by their type; of several of one type, the last."""
    if "$ref" in schema:
        # What leads out of the document, as the schema of the result does, is versioned where it stands.
        schema = document["components"]["schemas"].get(schema["$ref"].removeprefix(_REFERENCE), {})
    parts = schema.get("anyOf") or schema.get("oneOf")
    if parts:
        return {kind: one for part in parts for kind, one in _list_alternatives(document, part).items()}
    kinds = schema.get("type", "anything")
    return dict.fromkeys([kinds] if isinstance(kinds, str) else kinds, schema)


def _compare_types(pair: _Pair, before: set[str], after: set[str]) -> Iterator[str]:
    narrower, wider = (after, before) if pair.is_sent else (before, after)
    lost = wider - narrower
    if lost and "anything" not in narrower:
        told = "is refused" if pair.is_sent else "may come"
        yield f"{pair.where}: {', '.join(sorted(lost))} {told} now"


def _compare_alike(pair: _Pair, before: Document, after: Document) -> Iterator[str]:
    yield from _compare_properties(pair, before, after)
    if "items" in before and "items" in after:
        yield from _compare_schemas(pair.step("[]"), before["items"], after["items"])
    if pair.is_sent:
        yield from _compare_values(pair, before, after)


def _compare_properties(pair: _Pair, before: Document, after: Document) -> Iterator[str]:
    known, offered = before.get("properties", {}), after.get("properties", {})
    for name, schema in known.items():
        step = pair.step(name)
        if name not in offered:
            yield f"{step.where}: gone"
            continue
        yield from _compare_schemas(step, schema, offered[name])
    required, newly = set(before.get("required", ())), set(after.get("required", ()))
    changed = newly - required if pair.is_sent else (required - newly) & offered.keys()
    for name in sorted(changed):
        yield f"{pair.where} {name}: {'newly required' if pair.is_sent else 'may be absent now'}"


def _compare_values(pair: _Pair, before: Document, after: Document) -> Iterator[str]:
    if "enum" in after:
        lost = sorted(map(str, set(before.get("enum", ())) - set(after["enum"])))
        if lost or "enum" not in before:
            yield f"{pair.where}: refuses {', '.join(lost) or 'all but some values'}"
    if after.get("pattern") not in {None, before.get("pattern")}:
        yield f"{pair.where}: another pattern"
    for limit, direction in _LIMITS.items():
        old, new = before.get(limit), after.get(limit)
        if new is not None and (old is None or direction * new < direction * old):
            yield f"{pair.where}: stricter {limit}"

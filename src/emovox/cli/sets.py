"""What ``emovox features --list`` and ``--describe`` say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emovox.cli.data.common import table
from emovox.cli.models import Form

if TYPE_CHECKING:
    from emovox.features import FeatureSet

__all__ = ["described", "listed"]

_COLUMNS_OF_TEXT = 100
_BESIDES = (
    "encoder:NAME or encoder:FOLDER: embeddings of a pretrained encoder (extra ssl)",
    "A+B: sets that give a row, side by side as one set",
)


def listed(form: Form) -> str:
    """Every set there is."""
    from emovox.features import SETS

    if form is Form.json:
        return json.dumps([_entry(one) for one in SETS.values()], ensure_ascii=False, indent=2)
    rows = [
        (s.name, "frames" if s.kind == "frames" else "row", s.n_columns, s.extra or "", s.description)
        for s in SETS.values()
    ]
    lines = table(("set", "gives", "columns", "extra", "what it is"), rows)
    return "\n".join([*lines, "", *_BESIDES])


def described(sets: Sequence[FeatureSet], form: Form) -> str:
    """What some sets are made of."""
    if form is Form.json:
        return json.dumps(
            [{**_entry(s), "columns": list(s.columns)} for s in sets], ensure_ascii=False, indent=2
        )
    return "\n\n".join(_page(one) for one in sets)


def _entry(one: FeatureSet) -> dict[str, Any]:
    return {
        "set": one.name,
        "overrides": dict(one.overrides),
        "kind": one.kind,
        "n_columns": one.n_columns,
        "hop_s": one.hop_s,
        "description": one.description,
        "source": one.source,
        "licence": one.licence,
        "extra": one.extra,
        "version": one.version,
        "definition": dict(one.definition),
    }


def _page(one: FeatureSet) -> str:
    gives = "one row a recording" if one.kind == "vector" else f"one row each {1000 * (one.hop_s or 0):g} ms"
    lines = [
        f"{one.name}: {one.description}",
        f"  gives     {gives}, {len(one.columns)} columns",
        f"  source    {one.source}",
        f"  licence   {one.licence}",
        f"  extra     {one.extra or 'none is needed'}",
        f"  version   {one.version}, digest {one.digest}",
        *_parts(one.definition),
        "  columns",
        *_wrapped(one.columns),
    ]
    return "\n".join(lines)


def _parts(definition: Mapping[str, Any]) -> list[str]:
    """Families with their parameters and frames; of a set that is not made of them, what it depends on."""
    lines = []
    for part in definition.get("parts", ()):
        lines.append(f"  family    {part['family']}  {_pairs(part['parameters'])}".rstrip())
        lines.append(f"            frames: {_pairs(part['settings'])}")
        if part["statistics"]:
            lines.append(f"            statistics: {' '.join(part['statistics'])}")
    lines += [
        f"  {key:<8}  {value}" for key, value in definition.items() if key != "parts" and value is not None
    ]
    return lines


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={'none' if value is None else value}" for key, value in values.items())


def _wrapped(names: Sequence[str]) -> list[str]:
    lines = ["   "]
    for name in names:
        if len(lines[-1]) + 1 + len(name) > _COLUMNS_OF_TEXT:
            lines.append("   ")
        lines[-1] += f" {name}"
    return lines

"""``emovox models``: the bundles that have a name, with their scores and terms of use."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emovox.bundles.registry import BundleEntry

__all__ = ["Form", "models"]


class Form(StrEnum):
    """The format of the output."""

    table = "table"
    json = "json"


def models(
    format: Annotated[Form, typer.Option("--format", "-f", help="Output format.")] = Form.table,
) -> None:
    """List the models: labels, scores, terms of use."""
    from emovox.bundles import registry

    known = registry.models()
    if format is Form.json:
        typer.echo(json.dumps([_to_json(one) for one in known], ensure_ascii=False, indent=2))
    elif not known:
        typer.echo(
            "This installation holds no model; give a bundle's folder:  emovox predict --model FOLDER PATH"
        )
    else:
        typer.echo("\n\n".join(map(_describe, known)))


def _to_json(entry: BundleEntry) -> dict[str, Any]:
    return {
        "model": entry.name,
        "path": str(entry.path),
        "spec": {name: value for name, value in entry.spec.to_dict().items() if name != "taught"},  # long
    }


def _describe(entry: BundleEntry) -> str:
    spec = entry.spec
    terms = "commercial use allowed" if spec.licence.commercial else "no commercial use"
    lines = [
        f"{entry.name}  ({spec.name} {spec.version})",
        f"  {spec.description}",
        *([f"  labels      {' '.join(spec.labels)}"] if spec.labels else []),
        *([f"  values      {', '.join(spec.target_names)}"] if spec.targets else []),
        f"  trained on  {', '.join(spec.corpora)}",
        f"  weights     {spec.licence.weights}: {terms}",
    ]
    for score in spec.scores:
        if score.metric != "uar":  # calibration and abstention are in the card and in --format json
            continue
        bounds = "" if score.low is None or score.high is None else f" [{score.low:.3f}, {score.high:.3f}]"
        lines.append(f"  UAR         {score.value:.3f}{bounds} on {score.corpus} ({score.protocol})")
    return "\n".join(lines)

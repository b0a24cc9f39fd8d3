"""``emovox models``: which bundles can be named, with what they are worth and their terms."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emovox.bundles.registry import Known

__all__ = ["Form", "models"]


class Form(StrEnum):
    """How the answer looks."""

    table = "table"
    json = "json"


def models(
    format: Annotated[Form, typer.Option("--format", "-f", help="How the answer looks.")] = Form.table,
) -> None:
    """List the models: labels, scores, terms of use."""
    from emovox.bundles import registry

    known = registry.models()
    if format is Form.json:
        typer.echo(json.dumps([_entry(one) for one in known], ensure_ascii=False, indent=2))
    elif not known:
        typer.echo(
            "This installation holds no model; give a bundle's folder:  emovox predict --model FOLDER PATH"
        )
    else:
        typer.echo("\n\n".join(map(_page, known)))


def _entry(known: Known) -> dict[str, Any]:
    return {
        "model": known.name,
        "path": str(known.path),
        "spec": {name: value for name, value in known.spec.to_dict().items() if name != "taught"},  # long
    }


def _page(known: Known) -> str:
    spec = known.spec
    terms = "commercial use allowed" if spec.licence.commercial else "no commercial use"
    lines = [
        f"{known.name}  ({spec.name} {spec.version})",
        f"  {spec.description}",
        f"  labels      {' '.join(spec.labels)}",
        f"  trained on  {', '.join(spec.corpora)}",
        f"  weights     {spec.licence.weights}: {terms}",
    ]
    for score in spec.scores:
        if score.metric != "uar":  # calibration and abstention stand in the card and in --format json
            continue
        bounds = "" if score.low is None or score.high is None else f" [{score.low:.3f}, {score.high:.3f}]"
        lines.append(f"  UAR         {score.value:.3f}{bounds} on {score.corpus} ({score.protocol})")
    return "\n".join(lines)

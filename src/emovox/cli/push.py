"""``emovox push``: a bundle goes to the Hugging Face Hub, with its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from emovox.errors import ConfigError

__all__ = ["push"]


def push(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run, a bundle or a model's name.")],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; made if it is not there.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Only its owner may see it.")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="BRANCH", help="Not to the main branch, but to this.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", metavar="L", help="Of the weights, such as 'CC BY-NC-SA 4.0'."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="DIR", help="A folder of `emovox check`: its results go into the card."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also without a licence, or with a contaminated score.")
    ] = False,
) -> int:
    """Put a model on the Hugging Face Hub (extra hub), with a model card and a notice of its licence.

    The token that may write is read from HF_TOKEN.

    Exit code: 0 when it is there, 2 when not.
    """
    from emovox.bundles import hub, registry

    name = f"{repo}@{revision}" if revision else repo
    folder = registry.find(model)
    behaviour = "" if check is None else _read_behaviour(check, folder)
    commit = hub.push(folder, name, private=private, licence=licence, force=force, behaviour=behaviour)
    typer.echo(f"{commit}\nto load it:  emovox predict --model {hub.parse_address(name)} FILE")
    return 0


def _read_behaviour(report: Path, bundle: Path) -> str:
    """Return what the card says of the behavioural tests of this very model."""
    from emovox.bundles import read_spec
    from emovox.reports.behaviour import card_section

    file = report / "behaviour.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        tested, text = document["model"]["sha256"], card_section(document)
    except FileNotFoundError:
        raise ConfigError(
            f"--check {str(report)!r} has no behaviour.json; expected a folder of emovox check"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"{file} is no result of emovox check ({type(error).__name__}: {error})") from None
    sha256 = read_spec(bundle).sha256
    if tested != sha256:
        raise ConfigError(
            f"{file} is of another model, sha256 {str(tested)[:12]}..., not {sha256[:12]}...; check this one"
        )
    return text

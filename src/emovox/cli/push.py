"""``emovox push``: a bundle goes to the Hugging Face Hub, with its card."""

from __future__ import annotations

from typing import Annotated

import typer

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
    commit = hub.push(registry.find(model), name, private=private, licence=licence, force=force)
    typer.echo(f"{commit}\nto load it:  emovox predict --model {hub.parse_address(name)} FILE")
    return 0

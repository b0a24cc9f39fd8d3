"""The ledger of a run, ``run.json``: of which plan, by which model, with which settings its parts are.

It is written when the plan is complete, and before any part. Whoever goes on with the run must mean the same;
anything else is refused, for a folder with rows of two models looks like one with rows of one.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import emovox
from emovox.batch import places
from emovox.batch.parts import FORMS, Fields
from emovox.batch.plan import Plan
from emovox.errors import BatchError, PlaceNotFoundError

__all__ = ["LEDGER_FILE", "Ledger", "differences", "read_ledger", "write_ledger"]

LEDGER_FILE = "run.json"
_SCHEMA = 1
_LIBRARIES = ("numpy", "onnxruntime", "soundfile", "soxr", "av")


@dataclass(frozen=True, slots=True)
class Ledger:
    """What all parts of a run have in common."""

    task: Mapping[str, Any]
    """All that rows depend on (``Task.record``)."""
    fields: Fields
    plan: Plan
    form: str
    root: str
    """What relative names in the plan start from."""
    source: str
    """The plan as it was typed."""
    column: str | None
    emovox: str
    versions: Mapping[str, str]
    created: str

    @classmethod
    def new(
        cls,
        *,
        task: Mapping[str, Any],
        fields: Fields,
        plan: Plan,
        form: str,
        root: str,
        source: str,
        column: str | None,
    ) -> Ledger:
        """That of a run which begins now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        version = emovox.__version__
        return cls(task, fields, plan, form, root, source, column, version, _versions(), now)

    @property
    def note(self) -> str:
        """What the rows are, as JSON; the same for every run of the same."""
        return json.dumps({"emovox": self.emovox, **self.task}, sort_keys=True)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_ledger(folder: str, ledger: Ledger) -> None:
    """Write it.

    Raises:
        PlaceError: it cannot be written.
    """
    document = {"schema": _SCHEMA, **asdict(ledger)}
    places.write(
        places.joined(folder, LEDGER_FILE), json.dumps(document, indent=1).encode() + b"\n", durable=True
    )


def read_ledger(folder: str) -> Ledger | None:
    """Read it; ``None`` where there is none.

    Raises:
        BatchError: it is damaged, or of a newer emovox.
        PlaceError: it cannot be read.
    """
    place = places.joined(folder, LEDGER_FILE)
    try:
        document = json.loads(places.read(place))
        schema = document.pop("schema")
        if schema != _SCHEMA:
            raise BatchError(
                f"{places.veiled(place)}: of schema {schema!r}, this emovox knows {_SCHEMA}; update it"
            )
        ledger = Ledger(**{**document, "plan": Plan(**document["plan"])})
        if ledger.form not in FORMS:
            raise ValueError(f"format {ledger.form!r}")
    except PlaceNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatchError(
            f"{places.veiled(place)}: no ledger of a run ({error}); choose another folder"
        ) from error
    return ledger


def differences(begun: Ledger, asked: Ledger) -> Iterator[str]:
    """In which ways a run that is asked for is not the one that was begun; each a phrase for people."""
    told = {
        "the plan": ("other recordings", "these") if begun.plan.sha256 != asked.plan.sha256 else ("", ""),
        "emovox": (begun.emovox, asked.emovox),
        "--format": (begun.form, asked.form),
        "--shard-size": (begun.plan.shard_size, asked.plan.shard_size),
        "the current folder": (begun.root, asked.root),
    }
    for name in sorted({*begun.task, *asked.task}):
        told[name] = (_plain(begun.task.get(name)), _plain(asked.task.get(name)))
    for name, (then, now) in told.items():
        if then != now:
            yield f"{name}: {then}, now {now}"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))

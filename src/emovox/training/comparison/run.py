"""The order of a comparison: fit and validate all, name one, and only then answer the tests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emovox._files import replaced, write_json
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.errors import ConfigError
from emovox.evaluation import metrics
from emovox.evaluation.predictions import NO_LABEL
from emovox.features.extraction import FeatureTable
from emovox.training.bench import Plan
from emovox.training.classical import ESTIMATORS, ClassicalConfig, find_estimator
from emovox.training.classical.selection import Selection
from emovox.training.comparison.cells import Answers, Cell, System, Tell, kept_under, worked
from emovox.training.config import ComparisonConfig

__all__ = ["CHOSEN_FILE", "Comparison", "Results", "compute", "models_of", "truth_and_answers"]

CHOSEN_FILE = "chosen.json"
"""What was named before the tests were answered. It only grows."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared on what."""

    config: ComparisonConfig
    plans: tuple[Plan, ...]
    """One a protocol, over the same clips."""
    tables: Mapping[str, FeatureTable]
    """Set -> its rows, of all clips."""

    @property
    def systems(self) -> tuple[System, ...]:
        """Every estimator on every set, in the order of the config."""
        models = models_of(self.config.models)
        return tuple(System(features, model) for features in self.tables for model in models)


@dataclass(frozen=True, slots=True)
class Results:
    """One protocol, answered."""

    plan: Plan
    chosen: System
    validation: Mapping[System, tuple[Answers, ...]]
    """Answers of each split, in the plan's order; some may be errors."""
    test: Mapping[System, tuple[Answers, ...]]
    """Of the systems that could be fitted."""


def models_of(names: Sequence[str]) -> tuple[str, ...]:
    """The estimators that are named; ``all``: every installed one but stacking, which is made of others.

    Raises:
        ConfigError: one is unknown; the message names the nearest.
    """
    every = [name for name, one in ESTIMATORS.items() if name != "stacking" and _is_here(one.extra)]
    found = [name for text in names for name in (every if text == "all" else [find_estimator(text).name])]
    return tuple(dict.fromkeys(found))


def _is_here(extra: str | None) -> bool:
    return extra is None or find_spec(extra) is not None


def compute(
    made: Comparison, out: str | Path, *, workers: int = 1, tell: Tell = lambda line: None
) -> tuple[Results, ...]:
    """Compute every cell that is not there yet; one `Results` a protocol.

    Args:
        out: a folder: ``cells/`` keeps what is done, ``chosen.json`` what was named before the tests.
        workers: processes.
        tell: called with a line of text as a cell is done.

    Raises:
        ConfigError: an estimator or a setting is unknown, a split has no validation, nothing could be fitted.
    """
    home = Path(out)
    first = list(_first(made, home))
    validation = worked(first, workers=workers, tell=tell)
    chosen = [_named(plan, _by_system(plan, first, validation), home) for plan in made.plans]
    for plan, system in zip(made.plans, chosen, strict=True):
        tell(f"{plan.protocol}: chosen on the validation speakers: {system}; the test is opened now")
    second = list(_second(made, first, validation))
    test = worked(second, workers=workers, tell=tell)
    return tuple(
        Results(plan, system, _by_system(plan, first, validation), _by_system(plan, second, test))
        for plan, system in zip(made.plans, chosen, strict=True)
    )


def truth_and_answers(
    manifest: Manifest, ids: Iterable[str], answers: Answers
) -> tuple[list[str], list[str], list[str]]:
    """Truth, answers and speakers of the clips ``ids``; one that could not be read is wrong."""
    given = dict(zip(answers.ids, answers.answers, strict=True))
    clips = [manifest[key] for key in ids]
    return (
        [u.emotion for u in clips],
        [given.get(u.id, NO_LABEL) for u in clips],
        [u.speaker for u in clips],
    )


# --------------------------------------------------------------------------------------- the choice


def _named(plan: Plan, validation: Mapping[System, Sequence[Answers]], home: Path) -> System:
    """The best over the validation parts of all splits; written down before the tests."""
    scores = {
        system: _validation_uar(plan, answers)
        for system, answers in validation.items()
        if not any(one.error for one in answers)
    }
    if not scores:
        why = sorted({one.error for answers in validation.values() for one in answers if one.error})
        raise ConfigError(f"no system could be fitted under {plan.protocol}: {'; '.join(why)}")
    best = max(scores, key=lambda system: scores[system])
    entry = {
        "protocol": plan.protocol,
        "splits": [split.digest for split in plan.splits],
        "chosen": asdict(best),
        "validation_uar": {str(system): round(uar, 6) for system, uar in scores.items()},
    }
    before = _before(home / CHOSEN_FILE)
    if entry not in before:
        write_json(home / CHOSEN_FILE, [*before, entry])
    return best


def _validation_uar(plan: Plan, answers: Sequence[Answers]) -> float:
    true, given = [], []
    for split, one in zip(plan.splits, answers, strict=True):
        t, g, _ = truth_and_answers(plan.manifest, split.validation, one)
        true += t
        given += g
    return metrics.uar(true, given, labels=sorted({*true, *given}))


def _before(file: Path) -> list[Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ConfigError(f"{file} is not what a comparison wrote ({error}); use another folder") from error
    return list(found)


def _by_system(
    plan: Plan, cells: Sequence[Cell], answers: Sequence[Answers]
) -> dict[System, tuple[Answers, ...]]:
    """Answers of one protocol; a system that lacks a split is left out."""
    found: dict[System, dict[str, Answers]] = {}
    for cell, one in zip(cells, answers, strict=True):
        if cell.protocol == plan.protocol:
            found.setdefault(cell.system, {})[cell.split] = one
    names = [split.name for split in plan.splits]
    return {
        system: tuple(each[name] for name in names)
        for system, each in found.items()
        if set(names) <= each.keys()
    }


# ---------------------------------------------------------------------------------------- the cells


def _first(made: Comparison, home: Path) -> Iterator[Cell]:
    """Fitted on the training part, asked about the validation."""
    saved = {name: _saved(table, home / "cache", name) for name, table in made.tables.items()}
    searched = models_of(made.config.search) if made.config.search else ()
    for system in made.systems:
        table = made.tables[system.features]
        config = _classical(made.config, system.model, len(table.columns))
        for plan in made.plans:
            for number, split in enumerate(plan.splits, 1):
                if not split.validation:
                    raise ConfigError(f"{split.name} has no validation part: there is nothing to choose by")
                yield _cell(
                    plan.manifest,
                    table,
                    training=split.train,
                    asked=split.validation,
                    system=system,
                    protocol=plan.protocol,
                    split=split.name,
                    part="validation",
                    config=config,
                    tune=made.config.tune if system.model in searched else None,
                    table=saved[system.features][0],
                    content=saved[system.features][1],
                    file=home / "cells" / system.features / system.model / _folder(plan) / f"{number}.json",
                )


def _second(made: Comparison, cells: Sequence[Cell], answers: Sequence[Answers]) -> Iterator[Cell]:
    """Asked about the test, with the settings of the first fit; nothing where that one failed."""
    splits = {(plan.protocol, split.name): (plan, split) for plan in made.plans for split in plan.splits}
    for cell, one in zip(cells, answers, strict=True):
        plan, split = splits[cell.protocol, cell.split]
        if one.error is None:
            yield _cell(
                plan.manifest,
                made.tables[cell.system.features],
                training=_learnt_from(split, refit=made.config.refit),
                asked=split.test,
                system=cell.system,
                protocol=cell.protocol,
                split=cell.split,
                part="test",
                config=ClassicalConfig.from_dict(dict(one.config)),
                tune=None,
                table=cell.table,
                content=cell.content,
                file=cell.file.with_suffix(".test.json"),
            )


def _learnt_from(split: Split, *, refit: bool) -> tuple[str, ...]:
    return (*split.train, *split.validation) if refit else split.train


def _cell(
    manifest: Manifest, rows: FeatureTable, *, training: Sequence[str], asked: Sequence[str], **rest: Any
) -> Cell:
    """A cell of ids: those of clips that could not be read are left out."""
    place = {key: n for n, key in enumerate(rows.ids) if key not in rows.errors}
    learnt = [manifest[key] for key in training if key in place]
    asked = tuple(key for key in asked if key in place)
    return kept_under(
        Cell(
            columns=rows.columns,
            training=tuple(place[u.id] for u in learnt),
            y=tuple(u.emotion for u in learnt),
            speakers=tuple(u.known_speaker for u in learnt),
            asked=tuple(place[key] for key in asked),
            asked_ids=asked,
            **rest,
        )
    )


def _classical(config: ComparisonConfig, model: str, n_columns: int) -> ClassicalConfig:
    """The estimator as compared. Only answers count here, so no probabilities are calibrated."""
    estimator = find_estimator(model)
    limit = estimator.max_columns
    select = Selection(config.selection, count=limit) if limit is not None and n_columns > limit else None
    return ClassicalConfig(
        model=model,
        params=config.params.get(model) or {},
        scaler=config.scaler,
        clip=config.clip,
        select=select,
        class_weight=config.class_weight if estimator.supports_weights else None,
        calibrate=False,
        seed=config.seed,
    )


def _saved(table: FeatureTable, folder: Path, name: str) -> tuple[Path, str]:
    """Where the values lie for the workers, and the hash of the table."""
    values = np.ascontiguousarray(table.values, np.float32)
    names = json.dumps([table.ids, table.columns]).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(values.tobytes() + names).hexdigest()[:16]
    file = folder / f"{name}-{digest}.npy"
    if not file.exists():
        with replaced(file) as half, half.open("wb") as stream:
            np.save(stream, values)
    return file, digest


def _folder(plan: Plan) -> str:
    plain = re.sub(r"[^\w.=-]+", "-", plan.protocol).strip("-.")[:60]
    return f"{plain}-{hashlib.sha256(plan.protocol.encode()).hexdigest()[:6]}"

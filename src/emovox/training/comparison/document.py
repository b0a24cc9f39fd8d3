"""What a comparison amounts to, as one document of plain JSON types; the same for the same seed.

Scores are fractions of six digits. Times are apart (`comparison_times`): no two runs take equally long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import emovox
from emovox.evaluation import metrics
from emovox.training.comparison.cells import Answers, System
from emovox.training.comparison.run import Comparison, Results, truth_and_answers

__all__ = ["SCHEMA", "comparison_document", "comparison_times"]

SCHEMA = 1
"""Version of the document."""


def comparison_document(made: Comparison, results: Sequence[Results]) -> dict[str, Any]:
    """Everything but the times."""
    manifest = made.plans[0].manifest
    return {
        "schema": SCHEMA,
        "kind": "comparison",
        "emovox": emovox.__version__,
        "config": asdict(made.config),
        "data": {
            "corpora": list(manifest.corpora),
            "n_clips": len(manifest),
            "n_speakers": len(manifest.speakers),
            "emotions": manifest.counts("emotion"),
            "unread": {key: why for table in made.tables.values() for key, why in table.errors.items()},
        },
        "features": {name: dict(table.reference) for name, table in made.tables.items()},
        "protocols": [_protocol(one) for one in results],
    }


def comparison_times(results: Sequence[Results]) -> list[dict[str, Any]]:
    """Seconds of a fit (the search included) and milliseconds a clip of answering, means over the splits."""
    rows = []
    for one in results:
        for system, answers in one.test.items():
            searched = one.validation[system]
            n_clips = sum(len(a.ids) for a in answers)
            rows.append(
                {
                    "protocol": one.plan.protocol,
                    **asdict(system),
                    "fit_s": round(sum(a.fit_s for a in answers) / len(answers), 3),
                    "first_fit_s": round(sum(a.fit_s for a in searched) / len(searched), 3),
                    "predict_ms": round(1000 * sum(a.predict_s for a in answers) / max(1, n_clips), 4),
                }
            )
    return rows


def _protocol(one: Results) -> dict[str, Any]:
    own = _own_choice(one)
    return {
        "protocol": one.plan.protocol,
        "stamp": one.plan.stamp,
        "reasons": list(one.plan.reasons),
        "splits": [
            {
                "name": split.name,
                "digest": split.digest,
                "n_train": len(split.train),
                "n_validation": len(split.validation),
                "n_test": len(split.test),
            }
            for split in one.plan.splits
        ],
        "chosen": asdict(one.chosen),
        "headline": _test(one, one.test[one.chosen]) if one.chosen in one.test else None,
        "each_fold_its_own": {
            "chosen": [asdict(system) for system in own],
            **_test(one, [one.test[system][n] for n, system in enumerate(own)]),
        }
        if own
        else None,
        "systems": [_row(one, system) for system in one.validation],
    }


def _row(one: Results, system: System) -> dict[str, Any]:
    validation = one.validation[system]
    errors = [*validation, *one.test.get(system, ())]
    failed = sorted({str(a.error) for a in errors if a.error})
    row: dict[str, Any] = {**asdict(system), "error": "; ".join(failed) or None}
    if failed or system not in one.test:
        return row
    test = one.test[system]
    return {
        **row,
        "n_columns": [a.n_columns for a in test],
        "params": [dict(a.config["params"]) for a in test],
        "validation_uar": _uar(*_all(one, validation, "validation")[:2]),
        "test": _test(one, test),
        "against_chosen": _difference(one, system),
        "notes": list(dict.fromkeys(note for a in test for note in a.notes)),
    }


def _all(one: Results, answers: Sequence[Answers], part: str) -> tuple[list[str], list[str], list[str]]:
    """Truth, answers and speakers over all splits."""
    parts = [
        truth_and_answers(one.plan.manifest, getattr(split, part), a)
        for split, a in zip(one.plan.splits, answers, strict=True)
    ]
    true, given, speakers = ([x for p in parts for x in p[n]] for n in range(3))
    return true, given, speakers


def _uar(true: Sequence[str], given: Sequence[str]) -> float:
    return round(metrics.uar(true, given, labels=sorted({*true, *given})), 6)


def _test(one: Results, answers: Sequence[Answers]) -> dict[str, Any]:
    true, given, speakers = _all(one, answers, "test")
    folds = [
        _uar(*truth_and_answers(one.plan.manifest, split.test, a)[:2])
        for split, a in zip(one.plan.splits, answers, strict=True)
    ]
    labels = sorted({*true, *given})
    interval = metrics.speaker_interval(true, given, speakers, "uar", labels=labels)
    return {
        "uar": round(interval.value, 6),
        "low": _rounded(interval.low),
        "high": _rounded(interval.high),
        "mean_uar": round(sum(folds) / len(folds), 6),
        "folds": folds,
        "wa": round(metrics.wa(true, given, labels=labels), 6),
        "n_clips": len(true),
        "n_speakers": interval.n_speakers,
    }


def _difference(one: Results, system: System) -> dict[str, Any] | None:
    """This system less the chosen one, on the same speakers."""
    if system == one.chosen or one.chosen not in one.test:
        return None
    true, mine, speakers = _all(one, one.test[system], "test")
    theirs = _all(one, one.test[one.chosen], "test")[1]
    labels = sorted({*true, *mine, *theirs})
    found = metrics.paired_difference(true, mine, theirs, speakers, "uar", labels=labels)
    return {
        "value": round(found.value, 6),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "p": _rounded(found.p_value),
    }


def _own_choice(one: Results) -> list[System]:
    """The best system on each fold's own validation speakers; none when none could be fitted."""
    systems = [system for system in one.test if not any(a.error for a in one.test[system])]
    return [max(systems, key=lambda s: _fold_uar(one, s, n)) for n in range(len(one.plan.splits)) if systems]


def _fold_uar(one: Results, system: System, n: int) -> float:
    ids = one.plan.splits[n].validation
    return _uar(*truth_and_answers(one.plan.manifest, ids, one.validation[system][n])[:2])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)

"""Cross-validate systems under protocols: choose one on the validation parts, and only then open the tests.

::

    found = emovox.cross_validate({"svm": "configs/seed-svm.yaml", "mlp": "configs/seed-mlp.yaml"},
                                  data="corpora/ravdess", protocols=["emobox", "random"], output="runs/cv")
    found.document["protocols"][0]["headline"]["uar"]

1. Every system is fitted on the training part of every split, and predicts the validation part.
2. Per protocol, the system with the best validation UAR over all splits is written into ``chosen.json``.
3. Then the test parts are predicted. Systems that are not exported as bundles are first fitted again on
   training and validation part together (``refit``) with the settings of step 1: nothing is chosen any more.

The headline is the test UAR of the chosen system, and the table of all systems is beside it. As in any
cross-validation with one system for all folds, a speaker who is tested in one fold validates in another. So a
second figure is given, in which each fold is predicted by the best system on its own validation speakers.

The commands ``emovox compare`` (estimators on feature sets) and ``emovox bench`` (configs, exported as
bundles, under strict and leaky protocols) call this.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import emovox
from emovox._files import write_json, write_text
from emovox.augment.clips import augmented_manifest, write_augmented
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest
from emovox.datasets.overlap import Fingerprint, fingerprint_clips
from emovox.datasets.split_plan import SplitPlan, plan_splits
from emovox.errors import ConfigError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.leakage import hash_clips
from emovox.evaluation.predictions import NO_LABEL
from emovox.features import find_feature_set
from emovox.features.cache import FeatureCache, default_folder
from emovox.reports import cross_validation_html, cross_validation_markdown
from emovox.reports.figures import draw_system_confusions, has_matplotlib, write_figure
from emovox.training import run_folder
from emovox.training.config import (
    ClassicalModel,
    ComparisonConfig,
    Config,
    SelectionConfig,
    Source,
    to_dict,
    to_yaml,
)
from emovox.training.folds import Fold, FoldResult, System, run_folds
from emovox.training.trainers import Trainer, make_config, make_trainer
from emovox.training.value_cross_validation import (
    check_systems,
    describe_value_protocol,
    score_validation,
)

__all__ = ["AUGMENTED", "CHOSEN_FILE", "CrossValidation", "cross_validate", "expand_comparison"]

SCHEMA = 2
"""Version of the document."""

CHOSEN_FILE = "chosen.json"
"""Holds what was chosen before the tests were predicted. It only grows."""

AUGMENTED = "augmented/"
"""Before a protocol: clips are augmented before they are split, as in many published figures. It leaks."""


@dataclass(frozen=True)
class ProtocolResult:
    """The predictions of all systems under one protocol, on the same clips."""

    plan: SplitPlan
    chosen: System | None
    """``None`` if no split has a validation part."""
    validation: Mapping[System, tuple[FoldResult, ...]]
    """Results of each split, in the plan's order; some may be errors."""
    test: Mapping[System, tuple[FoldResult, ...]]
    """Of the systems that could be fitted."""


@dataclass(frozen=True)
class CrossValidation:
    """Cross-validated systems, and the document of their scores."""

    results: tuple[ProtocolResult, ...]
    document: dict[str, Any]
    """All scores in plain JSON types; the same for the same seed."""
    times: list[dict[str, Any]]
    """Times of a fit and of a prediction: apart, since no two runs take equally long."""
    folder: Path

    def _repr_markdown_(self) -> str:
        return cross_validation_markdown(self.document, self.times)

    @property
    def exit_code(self) -> int:
        """0, or 1 if a system or a clip failed."""
        failed = any(row["error"] for one in self.document["protocols"] for row in one["systems"])
        return 1 if failed or self.document["data"]["unread"] else 0

    def write(self, config: str) -> None:
        """Write the report and the record into the folder; ``config`` is the text of the settings."""
        texts = {
            "config.yaml": config,
            "times.json": json.dumps(self.times, indent=1) + "\n",
            "compare.md": cross_validation_markdown(self.document, self.times),
            "compare.html": cross_validation_html(self.document, self.times),
            "compare.json": json.dumps(self.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        }
        for name, text in texts.items():
            write_text(self.folder / name, text)
        if has_matplotlib():
            for one in () if "targets" in self.document else self.document["protocols"]:
                if any(not row["error"] for row in one["systems"]):
                    about = one["corpus"], one["protocol"]
                    figure = draw_system_confusions(self.document, corpus=about[0], protocol=about[1])
                    write_figure(figure, self.folder / f"confusion-{_folder_name(*about)}.png")
        first = self.document["protocols"][0]
        chosen, headline = first["chosen"] or {}, first.get("headline") or {}
        scores: dict[str, Any] = {"uar": {key: headline.get(name) for key, name in _HEADLINE.items()}}
        if "targets" in self.document:
            found = [row for row in first["systems"] if row["name"] == chosen.get("name")]
            scores = {"values": found[0].get("values", [])} if found else {}
        record = {
            "kind": "compare",
            "seed": self.document["seed"],
            "model": chosen.get("model"),
            "features": {"set": chosen.get("features")},
            "split": {"name": first["protocol"]},
            "stamp": {"stamp": first["stamp"], "reasons": first["reasons"]},
            "scores": scores,
            "n_systems": len(first["systems"]),
        }
        run_folder.finish(self.folder, record)


_HEADLINE = {"value": "uar", "low": "low", "high": "high"}


def cross_validate(
    configs: ComparisonConfig | Source | Config | Trainer | Mapping[str, Any] | Sequence[Any],
    data: str | Sequence[str] | None = None,
    protocols: str | Sequence[str] = ("emobox",),
    *,
    labels: str | None = None,
    output: str | Path,
    settings: Sequence[str] = (),
    allow: Sequence[str] = (),
    listen_for_copies: bool = False,
    export: bool = True,
    refit: bool = True,
    seed: int | None = None,
    workers: int = 1,
    store: str | Path | None = None,
    fresh: bool = False,
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CrossValidation:
    """Fit systems on every split of every protocol, choose one on the validation parts, predict the tests.

    What was computed is kept in ``output``, and the same call resumes there.

    Args:
        configs: a config or several, as `emovox.train` takes them, or a mapping of names to configs; or
            trainers (`emovox.training.trainers.Trainer`) in the place of configs; or a `ComparisonConfig`,
            which names data, protocols, feature sets and estimators itself.
        data: manifests, tables, trees or folders of corpora; those of the configs unless given.
        protocols: see docs/protocols.md; also ``augmented/P``: the clips are augmented before P splits them.
        labels: as in `emovox.train`; those of the configs unless given.
        output: folder of the run.
        settings: ``key=value`` texts that change every config.
        allow: ``contaminated`` accepts splits whose tests hold recordings of their training; the stamp stays.
        listen_for_copies: also compare all clips by sound.
        export: export every fold as a bundle and predict through the recogniser, as `emovox.train` does;
            otherwise predict estimators from the rows of features, which is quicker.
        refit: without ``export``: fit on training and validation part together before the test.
        seed: of all that is random.
        workers: processes; the result is the same for any number of them.
        store: cache of features; the user's unless given.
        fresh: fit everything again.
        notify: called with lines for people.
        progress: called with (clips done, clips in all).

    Raises:
        ConfigError: a setting is unknown, a split has no validation part to choose on, or nothing was fitted.
        ProtocolError: a protocol is not possible, or contaminated and not allowed. Nothing is fitted then.
    """
    folder = Path(output)
    if isinstance(configs, ComparisonConfig):
        comparison = configs
        systems = expand_comparison(comparison)
        protocols, export, refit, seed = comparison.protocols, False, comparison.refit, comparison.seed
    else:
        options = {"data": [data] if isinstance(data, str) else data, "labels": labels, "seed": seed}
        systems = [
            System(
                name,
                source
                if hasattr(source, "export")
                else make_trainer(make_config(source, settings, **options)),
                export=export,
            )
            for name, source in _name_configs(configs)
        ]
    of_values = check_systems(systems)
    for system in systems:
        system.trainer.check()
    wanted = [protocols] if isinstance(protocols, str) else list(dict.fromkeys(protocols))
    planner = _Planner(folder, allow, listen_for_copies, notify, progress)
    groups = planner.plan(systems, wanted)
    for plan, members in groups:
        splits = "1 split" if len(plan.splits) == 1 else f"{len(plan.splits)} splits"
        trained = "1 system" if len(members) == 1 else f"{len(members)} systems"
        notify(f"{plan.corpus}, {plan.protocol}: {splits}, {trained}; {plan.stamp}")
    features = FeatureCache(default_folder() if store is None else Path(store))
    _load_features(groups, features, workers, notify, progress)
    run = partial(run_folds, store=features, workers=workers, fresh=fresh, notify=notify)
    digests = {id(plan.manifest): run_folder.clips_digest(plan.manifest) for plan, _ in groups}

    first = [
        Fold(
            system=system,
            manifest=plan.manifest,
            clips=digests[id(plan.manifest)],
            protocol=plan.protocol,
            split=split,
            part="validation",
            file=folder
            / "cells"
            / _folder_name(system.name)
            / _folder_name(plan.corpus, plan.protocol)
            / f"{n}.json",
        )
        for plan, members in groups
        for system in members
        for n, split in enumerate(plan.splits, 1)
    ]
    validation = _by_group(groups, run(first))
    chosen = []
    for (plan, _), results in zip(groups, validation, strict=True):
        choice = _choose(plan, results, folder, of_values=of_values)
        chosen.append(choice)
        if choice is not None:
            notify(
                f"{plan.protocol}: chosen on the validation parts: {choice.name}; the tests are opened now"
            )
    second = []
    for fold, result in zip(first, _flatten(validation), strict=True):
        split = fold.split
        if not fold.system.export and refit:
            split = replace(split, train=(*split.train, *split.validation), validation=())
        config = None if fold.system.export else result.config
        file = fold.file.with_suffix(".test.json")
        second.append(replace(fold, part="test", split=split, config=config, file=file))
    fitted = [fold for fold, result in zip(second, _flatten(validation), strict=True) if result.error is None]
    tests = iter(run(fitted))
    tested = [next(tests) if one.error is None else one for one in _flatten(validation)]
    test = _by_group(groups, tested, errors=False)
    found = tuple(
        ProtocolResult(plan, choice, before, after)
        for (plan, _), choice, before, after in zip(groups, chosen, validation, test, strict=True)
    )
    document = _make_document(found, systems, configs, seed or 0, of_values=of_values)
    return CrossValidation(found, document, _make_times(found), folder)


def _name_configs(configs: Any) -> list[tuple[str, Any]]:
    """Pairs of a name and a config; a file is named by its stem."""
    if isinstance(configs, Mapping) and not {*configs} <= {*Config.__dataclass_fields__}:
        return list(configs.items())
    several = configs if isinstance(configs, list | tuple) else [configs]
    named = []
    for one in several:
        is_file = isinstance(one, str | Path)
        trained = getattr(one, "config", one)
        named.append((Path(one).stem if is_file else getattr(trained, "name", "model"), one))
    names = [name for name, _ in named]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two configs are called {twice[0]!r}; name them apart")
    return named


def expand_comparison(comparison: ComparisonConfig) -> list[System]:
    """Make a system of every estimator on every feature set, in the order of the config.

    Estimators that are slow on many columns get a selection of columns. Only labels count here, so scores are
    not calibrated.

    Raises:
        ConfigError: an estimator or a set is unknown; the message names the nearest.
    """
    from emovox.training.classical import find_estimator

    models, searched = _find_models(comparison.models), _find_models(comparison.search)
    systems = []
    for name in dict.fromkeys(comparison.features):
        n_columns = len(find_feature_set(name).columns)
        for model in models:
            estimator = find_estimator(model)
            limit = estimator.max_columns
            few = SelectionConfig(method=comparison.selection, count=limit)
            section = ClassicalModel(
                name=model,
                params=comparison.params.get(model) or {},
                scaler=comparison.scaler,
                clip=comparison.clip,
                select=few if limit is not None and n_columns > limit else None,
                class_weight=comparison.class_weight if estimator.supports_weights else None,
            )
            config = make_config(
                None,
                data=list(comparison.data),
                labels=comparison.labels,
                features=name,
                seed=comparison.seed,
                tune=asdict(comparison.tune),
            )
            trainer = make_trainer(replace(config, model=section))
            systems.append(System(f"{model} on {name}", trainer, search=model in searched))
    return systems


def _find_models(names: Sequence[str]) -> tuple[str, ...]:
    """The estimators that are named; ``all``: every installed one but stacking, which is made of others."""
    from emovox.training.classical import ESTIMATORS, find_estimator

    every = [
        name
        for name, one in ESTIMATORS.items()
        if name != "stacking" and (one.extra is None or find_spec(one.extra) is not None)
    ]
    found = [name for text in names for name in (every if text == "all" else [find_estimator(text).name])]
    return tuple(dict.fromkeys(found))


# ---------------------------------------------------------------------------------------------- the splits


Group = tuple[SplitPlan, list[System]]


class _Planner:
    """Loads and splits the clips of all systems; systems with the same data share a plan."""

    def __init__(
        self,
        folder: Path,
        allow: Sequence[str],
        compare_sound: bool,
        notify: Callable[[str], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._folder, self._allow, self._compare_sound = folder, allow, compare_sound
        self._notify, self._progress = notify, progress
        self._marks: dict[tuple[str, ...], dict[str, str]] = {}

    def plan(self, systems: Sequence[System], protocols: Sequence[str]) -> list[Group]:
        """Plan all protocols; first from the manifests alone, to report at once what is not possible."""
        datasets: dict[tuple[tuple[str, ...], str], Manifest] = {}
        for config in (system.trainer.config for system in systems):
            if (config.data, config.labels) not in datasets:
                dataset = Dataset.load(config.data, labels=config.labels, drop_unknown=config.drop_unknown)
                for note in dataset.notes:
                    self._notify(note)
                datasets[config.data, config.labels] = dataset.manifest
        groups: dict[tuple[tuple[str, ...], str, str, str], Group] = {}
        for protocol in protocols:
            for system in systems:
                config = system.trainer.config
                augment = to_yaml(config) if protocol.startswith(AUGMENTED) else ""
                key = (config.data, config.labels, protocol, augment)
                if key not in groups:
                    manifest = datasets[config.data, config.labels]
                    groups[key] = self._plan(config, manifest, protocol, None), []
                groups[key][1].append(system)
        if self._compare_sound:
            label_sets = dict(key for key in datasets)
            prints = {data: self._listen(data, labels) for data, labels in label_sets.items()}
            for key, (_, members) in list(groups.items()):
                config = members[0].trainer.config
                manifest = datasets[config.data, config.labels]
                groups[key] = self._plan(config, manifest, key[2], prints[config.data]), members
        for (data, labels, _, augment), (_, members) in groups.items():
            if augment:
                manifest = datasets[data, labels]
                augmentation = members[0].trainer.config.augmentation()
                assert augmentation is not None  # else no such plan was made
                report = partial(self._report, total=augmentation.n_versions * len(manifest))
                write_augmented(manifest, augmentation, self._folder / "copies", progress=report)
        return list(groups.values())

    def _plan(
        self, config: Config, manifest: Manifest, protocol: str, prints: Mapping[str, Fingerprint] | None
    ) -> SplitPlan:
        corpus = "+".join(manifest.corpora)
        if config.data not in self._marks:
            self._marks[config.data] = hash_clips(manifest)
        if protocol.startswith(AUGMENTED):
            augmentation = config.augmentation()
            if augmentation is None:
                raise ConfigError(
                    f"{config.name} augments no clips; expected augment.steps with one step at least"
                )
            manifest = augmented_manifest(manifest, augmentation, self._folder / "copies")
        plan = plan_splits(
            manifest,
            protocol.removeprefix(AUGMENTED),
            corpus=corpus,
            allow=(*self._allow, "missing"),
            fingerprints=prints,
            warn=self._notify,
        )
        return replace(plan.flag_identical(self._marks[config.data]), protocol=protocol)

    def _report(self, done: int, total: int) -> None:
        self._progress(done, total)

    def _listen(self, data: tuple[str, ...], labels: str) -> dict[str, Fingerprint]:
        kept = "none" if labels == "none" else "all"
        manifest = Dataset.load(data, labels=kept, drop_unknown=True).manifest
        corpus = "+".join(manifest.corpora)
        self._notify(f"{corpus}: comparing {len(manifest)} clips by sound")
        prints, failed = fingerprint_clips(manifest)
        for key, why in failed.items():
            self._notify(f"{key}: {why}")
        if failed:
            raise ManifestError(f"{corpus}: {len(failed)} clips cannot be read; mend or leave them out")
        return prints


def _load_features(
    groups: Sequence[Group],
    store: FeatureCache,
    workers: int,
    notify: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> None:
    """Compute the features of all clips once, with all processes, into the store."""
    seen = set()
    for plan, members in groups:
        for system in members:
            config = system.trainer.config
            key = (plan.manifest.ids, config.features.set, str(config.features.overrides))
            if system.export or key in seen:
                continue
            seen.add(key)
            system.trainer.load(
                plan.manifest, plan.splits[0], workers=workers, store=store, notify=notify, progress=progress
            )


def _folder_name(*parts: str) -> str:
    """A name that is legal in every file system, and different for different parts."""
    text = "-".join(parts)
    plain = re.sub(r"[^\w.=-]+", "-", text).strip("-.")
    return plain if plain == text else f"{plain[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


# ---------------------------------------------------------------------------------------------- the choice


Results = dict[System, tuple[FoldResult, ...]]


def _by_group(
    groups: Sequence[Group], results: Sequence[FoldResult], *, errors: bool = True
) -> list[Results]:
    """Sort results by group and system; without ``errors`` only of systems all of whose folds succeeded."""
    rest = iter(results)
    found = []
    for plan, members in groups:
        by_system = {system: tuple(next(rest) for _ in plan.splits) for system in members}
        found.append({s: r for s, r in by_system.items() if errors or not any(one.error for one in r)})
    return found


def _flatten(validation: Sequence[Results]) -> list[FoldResult]:
    return [one for group in validation for results in group.values() for one in results]


def _choose(plan: SplitPlan, results: Results, folder: Path, *, of_values: bool) -> System | None:
    """Choose the system with the best UAR over the validation parts, and write it down before the tests.

    Of models of values, that with the best CCC, averaged over the targets.
    """
    fitted = {system: found for system, found in results.items() if not any(one.error for one in found)}
    if not fitted:
        why = sorted({one.error for found in results.values() for one in found if one.error})
        raise ConfigError(f"no system could be fitted under {plan.protocol}: {'; '.join(why)}")
    if not all(split.validation for split in plan.splits):
        if len(results) == 1:
            return None
        raise ConfigError(f"{plan.protocol} has no validation part: there is nothing to choose on")
    scores = {
        system: score_validation(system.trainer.config, plan, found)
        if of_values
        else _uar(*_tabulate(plan, found, "validation")[:2])
        for system, found in fitted.items()
    }
    best = max(scores, key=lambda system: scores[system])
    entry = {
        "protocol": plan.protocol,
        "splits": [split.digest for split in plan.splits],
        "chosen": best.about,
        f"validation_{'ccc' if of_values else 'uar'}": {
            system.name: score for system, score in scores.items()
        },
    }
    file = folder / CHOSEN_FILE
    try:
        before = list(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        before = []
    except ValueError as error:
        raise ConfigError(f"{file} is not from a cross-validation ({error}); use another folder") from error
    if entry not in before:
        write_json(file, [*before, entry])
    return best


# -------------------------------------------------------------------------------------------- the document


def _make_document(
    results: Sequence[ProtocolResult],
    systems: Sequence[System],
    configs: Any,
    seed: int,
    *,
    of_values: bool,
) -> dict[str, Any]:
    """All scores as plain JSON types: fractions of six digits."""
    manifests = {one.plan.corpus: one.plan.manifest for one in results}
    manifest = results[0].plan.manifest
    predicted = {key for one in results for r in one.test.values() for fold in r for key in fold.ids}
    tested = {key for one in results for split in one.plan.splits for key in split.test}
    return {
        "schema": SCHEMA,
        "kind": "comparison",
        "emovox": emovox.__version__,
        "seed": seed,
        "config": asdict(configs) if isinstance(configs, ComparisonConfig) else None,
        "configs": {system.name: to_dict(system.trainer.config) for system in systems},
        "data": {
            "corpora": list(dict.fromkeys(name for one in manifests.values() for name in one.corpora)),
            "n_clips": len(manifest),
            "n_speakers": manifest.n_known_speakers,
            "emotions": manifest.counts("emotion"),
            "unread": sorted(tested - predicted),
        },
        **({"targets": list(systems[0].trainer.config.targets)} if of_values else {}),
        "protocols": [
            describe_value_protocol(one.plan, one.chosen, one.validation, one.test)
            if of_values
            else _describe_protocol(one)
            for one in results
        ],
    }


def _describe_protocol(one: ProtocolResult) -> dict[str, Any]:
    plan = one.plan
    fitted = list(one.test)
    own = []
    if one.chosen is not None:
        for n, split in enumerate(plan.splits):
            scores = {
                s: _uar(*_tabulate(plan, [one.validation[s][n]], "validation", [split])[:2]) for s in fitted
            }
            own += [max(scores, key=lambda system: scores[system])] if scores else []
    return {
        **plan.to_dict(),
        "chosen": None if one.chosen is None else one.chosen.about,
        "headline": _score(plan, one.test[one.chosen]) if one.chosen and one.chosen in one.test else None,
        "each_fold_its_own": {
            "chosen": [system.about for system in own],
            **_score(plan, [one.test[system][n] for n, system in enumerate(own)]),
        }
        if own
        else None,
        "systems": [_describe_system(one, system) for system in one.validation],
    }


def _describe_system(one: ProtocolResult, system: System) -> dict[str, Any]:
    first, test = one.validation[system], one.test.get(system, ())
    failed = sorted({str(fold.error) for fold in (*first, *test) if fold.error})
    row: dict[str, Any] = {**system.about, "error": "; ".join(failed) or None}
    if failed or not test:
        return row
    n_parameters = [fold.n_parameters for fold in first if fold.n_parameters is not None]
    return {
        **row,
        "n_columns": [fold.n_columns for fold in first],
        "n_parameters": round(sum(n_parameters) / len(n_parameters)) if n_parameters else None,
        "params": [dict(fold.config["model"]["params"]) for fold in first],
        "validation_uar": None if one.chosen is None else _uar(*_tabulate(one.plan, first, "validation")[:2]),
        "test": _score(one.plan, test),
        "against_chosen": _compare(one, system),
        "notes": list(dict.fromkeys(note for fold in (*first, *test) for note in fold.notes)),
    }


def _tabulate(
    plan: SplitPlan, results: Sequence[FoldResult], part: str, splits: Sequence[Any] | None = None
) -> tuple[list[str], list[str], list[str]]:
    """True labels, predicted labels and speakers over the splits; a clip that was not predicted is wrong."""
    true, predicted, speakers = [], [], []
    for split, result in zip(splits or plan.splits, results, strict=True):
        given = dict(zip(result.ids, result.predicted, strict=True))
        for u in (plan.manifest[key] for key in getattr(split, part)):
            true.append(u.emotion)
            predicted.append(given.get(u.id, NO_LABEL))
            speakers.append(u.speaker)
    return true, predicted, speakers


def _uar(true: Sequence[str], predicted: Sequence[str]) -> float:
    return round(metrics.uar(true, predicted, labels=sorted({*true, *predicted})), 6)


def _score(plan: SplitPlan, results: Sequence[FoldResult]) -> dict[str, Any]:
    true, predicted, speakers = _tabulate(plan, results, "test")
    folds = [
        _uar(*_tabulate(plan, [result], "test", [split])[:2])
        for split, result in zip(plan.splits, results, strict=True)
    ]
    labels = sorted({*true, *predicted})
    interval = metrics.speaker_interval(true, predicted, speakers, "uar", labels=labels)
    return {
        "uar": round(interval.value, 6),
        "low": _round(interval.low),
        "high": _round(interval.high),
        "mean_uar": round(sum(folds) / len(folds), 6),
        "folds": folds,
        "wa": round(metrics.wa(true, predicted, labels=labels), 6),
        "n_clips": len(true),
        "n_speakers": interval.n_speakers,
        "n_labels": len(set(true)),
        "confusion": {
            "labels": labels,
            "counts": metrics.confusion_matrix(true, predicted, labels=labels).tolist(),
        },
    }


def _compare(one: ProtocolResult, system: System) -> dict[str, Any] | None:
    """The UAR of a system less that of the chosen one, paired over the speakers."""
    if one.chosen is None or system == one.chosen or one.chosen not in one.test:
        return None
    true, mine, speakers = _tabulate(one.plan, one.test[system], "test")
    theirs = _tabulate(one.plan, one.test[one.chosen], "test")[1]
    labels = sorted({*true, *mine, *theirs})
    found = metrics.paired_difference(true, mine, theirs, speakers, "uar", labels=labels)
    return {
        "value": round(found.value, 6),
        "low": _round(found.low),
        "high": _round(found.high),
        "p": _round(found.p_value),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _make_times(results: Iterable[ProtocolResult]) -> list[dict[str, Any]]:
    """Seconds of a fit, its search included, and milliseconds of a prediction; means over the splits."""
    rows = []
    for one in results:
        for system, test in one.test.items():
            first = one.validation[system]
            fits = first if system.export else test
            rows.append(
                {
                    "protocol": one.plan.protocol,
                    "corpus": one.plan.corpus,
                    **system.about,
                    "fit_s": round(sum(fold.fit_s for fold in fits) / len(fits), 3),
                    "first_fit_s": round(sum(fold.fit_s for fold in first) / len(first), 3),
                    "predict_ms": round(sum(fold.predict_ms for fold in test) / len(test), 4),
                }
            )
    return rows

"""Tests as data: rows of YAML, checked when they are read.

::

    tests:
      - name: white noise, 20 dB
        category: robustness
        metric: unchanged
        at_least: 0.9
        change: [{kind: noise, colour: white, snr_db: 20}]
        source: our limit

A test of a user's file replaces the embedded one of the same name; ``embedded: false`` drops all of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from emovox._settings import build_section, load_yaml
from emovox.augment import make_transform
from emovox.errors import ConfigError, did_you_mean
from emovox.evaluation.behaviour.registry import METRICS

__all__ = ["CATEGORIES", "EMBEDDED", "BehaviourTest", "read_tests", "select_tests"]

CATEGORIES = ("correctness", "fairness", "robustness")

EMBEDDED = Path(__file__).with_name("behaviour.yaml")
"""The tests that come with emovox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourTest:
    """One test: what is measured on which clips, and the limit.

    Raises:
        ConfigError: the metric, the change or the limit is wrong.
    """

    name: str
    category: Literal["correctness", "fairness", "robustness"]
    metric: str
    """A name in `METRICS`."""
    at_least: float | None = None
    at_most: float | None = None
    source: str
    """Where the limit comes from."""
    description: str = ""
    clips: str = "data"
    """A name in `emovox.evaluation.behaviour.clips.SOURCES`."""
    change: tuple[dict[str, Any], ...] = ()
    """Transforms of `emovox.augment` in order: rows of ``kind`` and settings."""
    by: str | None = None
    """How clips are divided into groups, for metrics of groups."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError(f"metric is {self.metric!r}; {did_you_mean(self.metric, METRICS)}")
        metric = METRICS[self.metric]
        wanted, other = ("at_least", "at_most") if metric.better == "higher" else ("at_most", "at_least")
        if getattr(self, other) is not None:
            raise ConfigError(
                f"{self.metric} is better when it is {metric.better}: give {wanted}, not {other}"
            )
        limit = getattr(self, wanted)
        if limit is None and not metric.has_limit:
            raise ConfigError(f"there is no limit; expected {wanted}, a number such as 0.05")
        if limit is not None and not -1 <= limit <= 1:
            raise ConfigError(f"{wanted} is {limit:g}; expected a share from -1 to 1, such as 0.05 for 5 %")
        if metric.needs_change and not self.change:
            raise ConfigError(f"{self.metric} compares changed clips with unchanged ones; give change")
        if metric.needs_groups and not self.by:
            raise ConfigError(f"{self.metric} compares groups of clips; give by, such as sex or language")
        for step in self.change:
            _check_step(step)

    @property
    def limit(self) -> float | None:
        """The limit, or ``None`` where the metric computes it."""
        return self.at_most if self.at_least is None else self.at_least

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "change": [dict(step) for step in self.change]}


def _check_step(step: Mapping[str, Any]) -> None:
    """Refuse a change that no transform makes."""
    if "kind" not in step:
        raise ConfigError(f"change holds {step!r}; expected kind and settings")
    settings = {key: value for key, value in step.items() if key != "kind"}
    if step["kind"] == "babble":
        settings.setdefault("folder", ".")  # without a folder it is mixed from the data
    make_transform(step["kind"], **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TestFile:
    tests: tuple[dict[str, Any], ...] = field(default_factory=tuple)
    embedded: bool = True


def read_tests(files: Iterable[str | Path] = ()) -> tuple[BehaviourTest, ...]:
    """Read the embedded tests and those of users' files.

    Args:
        files: YAML; a test replaces one of the same name that was read before.

    Raises:
        ConfigError: a file or a test is wrong; the message names the test.
        MissingExtraError: PyYAML is not installed.
    """
    opened = [
        (Path(path), build_section(_TestFile, load_yaml(Path(path), extra="check"), "")) for path in files
    ]
    if all(content.embedded for _, content in opened):
        opened.insert(0, (EMBEDDED, build_section(_TestFile, load_yaml(EMBEDDED, extra="check"), "")))
    found: dict[str, BehaviourTest] = {}
    for path, content in opened:
        here: set[str] = set()
        for number, row in enumerate(content.tests, 1):
            name = row.get("name")
            where = f"test {str(name)!r}" if name else f"test {number}"
            try:
                test = build_section(BehaviourTest, row, "")
            except ConfigError as error:
                raise ConfigError(f"{where} of {path}: {error}") from None
            if test.name in here:
                raise ConfigError(f"{where} of {path} occurs twice; give each test a name of its own")
            here.add(test.name)
            found[test.name] = test
    return tuple(found.values())


def select_tests(tests: Sequence[BehaviourTest], only: Sequence[str] = ()) -> tuple[BehaviourTest, ...]:
    """Keep the tests of the named categories or with these names; all if none is named.

    Raises:
        ConfigError: a name is neither.
    """
    known = [*CATEGORIES, *(test.name for test in tests)]
    for name in only:
        if name not in known:
            raise ConfigError(f"no test or category {name!r}; {did_you_mean(name, known, listed=CATEGORIES)}")
    return tuple(test for test in tests if not only or test.category in only or test.name in only)

"""Triggers: events when a score stays above a threshold, from the windows of a stream.

A rule is written ``angry>0.8<0.6:2s``: it begins when the score of *angry* was above 0.8 in all windows of
2 s, and ends when it was below 0.6 in all windows of 2 s. Two thresholds (hysteresis) and a time (debouncing)
let a score that wavers about a threshold cause one event and not twenty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emovox.errors import ConfigError
from emovox.labels import canonical_all
from emovox.results import Segment, Window

__all__ = ["Trigger", "TriggerEvent", "TriggerRule", "Triggers"]

_RULE = re.compile(
    r"\s*(?P<label>[^<>:]+?)\s*>\s*(?P<above>[\d.]+)\s*(?:<\s*(?P<below>[\d.]+)\s*)?"
    r"(?::\s*(?P<time>[\d.]+)\s*(?P<unit>ms|s)\s*)?"
)
_MAX_HOLD_S = 3600.0
# How far below the threshold a score must fall to end a rule that does not say it.
_HYSTERESIS = 0.1


@dataclass(frozen=True, slots=True)
class TriggerRule:
    """When an event begins and ends.

    Raises:
        ConfigError: the thresholds or the time are out of range.
    """

    label: str
    above: float
    """It begins when the score is above this, 0 to 1."""
    below: float
    """It ends when the score is below this; at most ``above``."""
    hold_s: float = 0.0
    """For how long, in seconds."""

    def __post_init__(self) -> None:
        if not 0 < self.below <= self.above < 1:
            raise ConfigError(
                f"the rule {self.text!r} has the thresholds {self.above:g} and {self.below:g}; expected "
                "0 < the lower <= the upper < 1"
            )
        if not 0 <= self.hold_s <= _MAX_HOLD_S:
            raise ConfigError(f"the rule {self.text!r} has {self.hold_s:g} s; expected 0 to {_MAX_HOLD_S:g}")

    @property
    def text(self) -> str:
        """The rule as it is written.

        >>> TriggerRule("angry", 0.8, 0.6, 2.0).text
        'angry>0.8<0.6:2s'
        """
        return f"{self.label}>{self.above:g}<{self.below:g}:{self.hold_s:g}s"

    @classmethod
    def parse(cls, text: str) -> TriggerRule:
        """Read a rule: ``LABEL>SCORE[<SCORE][:TIME]``, the time in ``s`` or ``ms``.

        Raises:
            ConfigError: it cannot be read.

        >>> TriggerRule.parse("angry>0.8:2s")
        TriggerRule(label='angry', above=0.8, below=0.7, hold_s=2.0)
        """
        found = _RULE.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            above = float(found["above"])
            if found["below"] is None:
                below = round(max(above - _HYSTERESIS, above / 2), 6)  # 0.7 rather than 0.7000000000000001
            else:
                below = float(found["below"])
            hold_s = float(found["time"] or 0) * (0.001 if found["unit"] == "ms" else 1.0)
        except ValueError:
            raise ConfigError(
                f"the rule {text[:80]!r} cannot be read; expected LABEL>SCORE:TIME such as angry>0.8:2s, or "
                "with a lower threshold for its end, angry>0.8<0.6:2s"
            ) from None
        return cls(found["label"], above, below, hold_s)


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """A rule began or ended."""

    rule: str
    """As `TriggerRule.text`."""
    label: str
    state: Literal["begin", "end"]
    since_s: float
    """End of the first window of those that caused it."""
    at_s: float
    """End of the last of them."""
    score: float
    """Of the label in the last window; 0 without speech."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "rule": self.rule,
            "label": self.label,
            "state": self.state,
            "since_s": round(self.since_s, 3),
            "at_s": round(self.at_s, 3),
            "score": round(self.score, 6),
        }


class Trigger:
    """The state of one rule."""

    def __init__(self, rule: TriggerRule) -> None:
        self.rule = rule
        self.is_active = False
        self._since_s: float | None = None
        """Since when all windows speak for a change of state; ``None``: the last one does not."""

    def push(self, window: Window) -> TriggerEvent | None:
        """Take the next window. One without scores, that is without speech, counts as a score of 0."""
        score = window.scores.get(self.rule.label, 0.0)
        changes = score < self.rule.below if self.is_active else score > self.rule.above
        if not changes:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s = window.end_s
        # Times of windows are sums of hops: a tolerance for their rounding.
        if window.end_s - self._since_s < self.rule.hold_s - 1e-6:
            return None
        return self._change(self._since_s, window.end_s, score)

    def flush(self, at_s: float) -> TriggerEvent | None:
        """End an active rule when the stream ends, so that whatever it switched on is switched off."""
        return self._change(at_s, at_s, 0.0) if self.is_active else None

    def _change(self, since_s: float, at_s: float, score: float) -> TriggerEvent:
        self.is_active, self._since_s = not self.is_active, None
        state: Literal["begin", "end"] = "begin" if self.is_active else "end"
        return TriggerEvent(self.rule.text, self.rule.label, state, since_s, at_s, score)


class Triggers:
    """Several rules on one stream.

    Args:
        rules: as `TriggerRule.parse` reads them.
        labels: those of the stream.

    Raises:
        ConfigError: a rule cannot be read.
        LabelError: the stream does not answer its label.
    """

    def __init__(self, rules: Iterable[str], labels: Sequence[str]) -> None:
        parsed = [TriggerRule.parse(text) for text in rules]
        self._triggers = [
            Trigger(TriggerRule(name, rule.above, rule.below, rule.hold_s))
            for rule in parsed
            for name in canonical_all([rule.label], tuple(labels))
        ]
        self._at_s = 0.0

    def push(self, results: Iterable[Window | Segment]) -> list[TriggerEvent]:
        """Take what a stream returned; return the events of its windows, in their order."""
        events = []
        for window in results:
            if isinstance(window, Window):
                self._at_s = window.end_s
                events += [event for one in self._triggers if (event := one.push(window))]
        return events

    def flush(self) -> list[TriggerEvent]:
        """End all active rules."""
        return [event for one in self._triggers if (event := one.flush(self._at_s))]

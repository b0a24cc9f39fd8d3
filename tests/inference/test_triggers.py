"""Rules over the scores of a stream: hysteresis and debouncing hold for any scores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.errors import ConfigError, LabelError
from emovox.inference.triggers import Trigger, TriggerEvent, TriggerRule, Triggers
from emovox.results import Segment, Window

HOP_S = 0.5
SCORES = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60)
RULES = st.builds(
    lambda a, b, n: TriggerRule("angry", max(a, b) / 1000, min(a, b) / 1000, n * HOP_S),
    st.integers(1, 999),
    st.integers(1, 999),
    st.integers(0, 6),
)


def make_windows(scores: list[float | None]) -> list[Window]:
    """A window each hop; ``None``: without speech."""
    return [
        Window(max(0.0, end_s - 3), end_s, {} if p is None else {"angry": p, "sad": 1 - p}, 1.0)
        for end_s, p in ((HOP_S * (i + 1), p) for i, p in enumerate(scores))
    ]


def run(rule: TriggerRule, scores: list[float | None]) -> list[TriggerEvent | None]:
    trigger = Trigger(rule)
    return [trigger.push(window) for window in make_windows(scores)]


@given(rule=RULES, scores=SCORES)
def test_states_alternate(rule: TriggerRule, scores: list[float | None]) -> None:
    states = [event.state for event in run(rule, scores) if event]
    assert states == ["begin", "end"] * (len(states) // 2) + ["begin"] * (len(states) % 2)


@given(rule=RULES, scores=SCORES)
def test_debounce(rule: TriggerRule, scores: list[float | None]) -> None:
    n = round(rule.hold_s / HOP_S)
    last = -n - 1
    for i, event in enumerate(run(rule, scores)):
        if event is None:
            continue
        assert i - last > n, "two events are further apart than the time of the rule"
        held = [p or 0.0 for p in scores[i - n : i + 1]]
        assert len(held) == n + 1
        assert min(held) > rule.above if event.state == "begin" else max(held) < rule.below
        assert event.at_s - event.since_s == pytest.approx(rule.hold_s)
        last = i


@given(rule=RULES, scores=SCORES)
def test_equals_definition(rule: TriggerRule, scores: list[float | None]) -> None:
    """The same events from the definition, which looks back over all windows since the last event."""
    n, active, last = round(rule.hold_s / HOP_S), False, -1
    expected = []
    values = [p or 0.0 for p in scores]
    for i in range(len(values)):
        held = values[i - n : i + 1] if i - n > last else []
        wants = [p < rule.below if active else p > rule.above for p in held]
        if wants and all(wants):
            active, last = not active, i
            expected.append((i, "begin" if active else "end"))
    assert [(i, e.state) for i, e in enumerate(run(rule, scores)) if e] == expected


@given(rule=RULES, shares=st.lists(st.floats(0, 1), max_size=60), begun=st.booleans())
def test_hysteresis(rule: TriggerRule, shares: list[float], begun: bool) -> None:
    """Scores between the thresholds change nothing, however they waver."""
    between = [min(rule.above, rule.below + share * (rule.above - rule.below)) for share in shares]
    before: list[float | None] = [1.0] * (round(rule.hold_s / HOP_S) + 1) if begun else []
    events = run(rule, [*before, *between])
    assert not any(events[len(before) :])
    assert [event.state for event in events if event] == ["begin"] * begun


@given(rule=RULES, scores=SCORES)
def test_end_of_stream_ends_all(rule: TriggerRule, scores: list[float | None]) -> None:
    triggers = Triggers([rule.text], ("angry", "sad"))
    begun = [event.state for window in make_windows(scores) for event in triggers.push([window])]
    states = begun + [event.state for event in triggers.flush()]
    assert states.count("begin") == states.count("end")
    assert triggers.flush() == []


def test_rules_are_read() -> None:
    for text, expected in {
        "angry>0.8:2s": TriggerRule("angry", 0.8, 0.7, 2.0),
        "angry>0.8": TriggerRule("angry", 0.8, 0.7, 0.0),
        " anger > .8 < .5 : 250ms ": TriggerRule("anger", 0.8, 0.5, 0.25),
        "sad>0.1": TriggerRule("sad", 0.1, 0.05, 0.0),
    }.items():
        rule = TriggerRule.parse(text)
        assert rule == expected
        assert TriggerRule.parse(rule.text) == rule


@pytest.mark.parametrize(
    "text",
    ["", "angry", "angry>", "angry>high", "angry<0.5", "angry>0.8:2", "angry>0.8:2h", "angry>1.2:2s",
     "angry>0:1s", "angry>0.5<0.6:1s", "angry>0.5<0:1s", "angry>0.8:99999s", "angry>1.2.3:1s", ">0.5:1s",
     "angry>nan:1s", "a:b>0.5"],
)  # fmt: skip
def test_wrong_rules(text: str) -> None:
    with pytest.raises(ConfigError):
        TriggerRule.parse(text)


@given(text=st.text(alphabet="angry ><.:0123456789sm\0é٣", max_size=30))
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    try:
        rule = TriggerRule.parse(text)
    except ConfigError:
        return
    assert 0 < rule.below <= rule.above < 1


def test_labels_of_rules() -> None:
    window = Window(0, 3, {"angry": 0.9}, 1.0)
    segment = Segment(0, 3, "angry", 0.9, {"angry": 0.9})
    assert [e.label for e in Triggers(["anger>0.8"], ("angry", "sad")).push([segment, window])] == ["angry"]
    for text in ("happy>0.8", "hangry>0.8", "angry,sad>0.8"):
        with pytest.raises(LabelError):
            Triggers([text], ("angry", "sad"))

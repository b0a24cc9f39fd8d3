"""What does the bot say? Plain sentences; what an answer is worth stands below it."""

from __future__ import annotations

from collections.abc import Mapping

from emovox.bundles import Spec
from emovox.disclaimer import LIMITS, NOTICE, SHORT
from emovox.results import Prediction, Segment
from emovox.telegram.judging import Heard

__all__ = [
    "BUSY",
    "EMOJI",
    "MOST_LETTERS",
    "NOT_FETCHED",
    "NOT_YOURS",
    "NO_RECORDING",
    "NO_SOUND",
    "UNKNOWN",
    "answer",
    "clock",
    "emoji",
    "greeting",
    "help_text",
    "model_text",
    "privacy_text",
    "slower",
    "too_much",
]

EMOJI: Mapping[str, str] = {
    "neutral": "😐",
    "calm": "😌",
    "happy": "😊",
    "sad": "😢",
    "angry": "😠",
    "fear": "😨",
    "disgust": "🤢",
    "surprise": "😮",
    "boredom": "🥱",
}
"""Emotion -> its face."""

MOST_LETTERS = 1024
"""Telegram takes no longer words below a picture."""

UNKNOWN = "I understand voices only. Send me a voice message, or a file with speech in it; /help says more."
NO_SOUND = (
    "I find no sound that I can read in this file. A voice message, wav, mp3, m4a or ogg would be fine."
)
NO_RECORDING = "Answer your own voice message with /emotion, and I judge it."
NOT_YOURS = "Only who spoke may ask: a voice is judged when its owner wants it."
BUSY = "Many voices are waiting right now. Please send it again in a minute."
NOT_FETCHED = "Your recording did not reach me. Please send it again."

_BAR = 10
_MOST_STRETCHES = 15
_NO_ANSWER = {
    "silence": "I hear silence. Is the microphone on?",
    "too_short": "That is too short to judge. A second of speech or more is needed.",
    "no_speech": "I hear no speech in it.",
    "uncertain": "I am not sure enough to name one emotion.",
}


def emoji(label: str | None) -> str:
    """The face of an emotion; of others, and of none, a microphone."""
    return EMOJI.get(label or "", "🎙")


def greeting() -> str:
    """Of ``/start``."""
    return (
        "Send me a voice message, and I say which emotion the voice expresses: the label, the probabilities "
        f"and a picture. A long one gets a timeline.\n\n{NOTICE}\n\n/help  /privacy  /model"
    )


def help_text(*, max_mb: float, max_s: float, rate: float) -> str:
    """Of ``/help``."""
    return (
        "I take voice messages, audio, video notes, and files with sound in them (wav, mp3, m4a, ogg and "
        f"more), up to {max_mb:g} MB and {max_s / 60:g} minutes, {rate:g} a minute.\n\n"
        "In a group I stay silent, until somebody answers their own recording with /emotion.\n\n" + LIMITS
    )


def privacy_text() -> str:
    """Of ``/privacy``."""
    return (
        "Your recording is downloaded for the answer alone and deleted with it; neither it, nor the answer, "
        "nor your name is kept or logged by this bot. Telegram keeps the messages of this chat as it keeps "
        "any other: delete them there. Send no voice of somebody who does not agree. " + NOTICE
    )


def model_text(spec: Spec) -> str:
    """Of ``/model``."""
    use = "commercial use allowed" if spec.licence.commercial else "no commercial use"
    return (
        f"{spec.name} {spec.version}: {spec.description}.\nLabels: {', '.join(spec.labels)}.\n"
        f"Learnt from: {', '.join(spec.corpora)}.\nWeights: {spec.licence.weights}, {use}.\n\n{LIMITS}"
    )


def slower(wait_s: float) -> str:
    """To somebody who sends too many."""
    return f"One moment, please: I take your next recording in {wait_s:.0f} s."


def too_much(*, max_mb: float, max_s: float) -> str:
    """To a recording that is too big or too long."""
    return f"This is too much for me: up to {max_mb:g} MB and {max_s / 60:g} minutes I can listen to."


def answer(heard: Heard) -> str:
    """The answer to a recording, at most `MOST_LETTERS` long."""
    if heard.prediction is not None:
        return _short(heard.prediction)
    return _long(heard)


def _short(said: Prediction) -> str:
    if said.label is None:
        head = f"{emoji(None)} {_NO_ANSWER.get(said.reason or '', 'I cannot judge this.')}"
    else:
        head = f"{emoji(said.label)} {said.label}, {100 * (said.confidence or 0):.0f} %"
    return "\n".join([head, "", *_bars(said.scores), "", SHORT] if said.scores else [head])


def _bars(scores: Mapping[str, float]) -> list[str]:
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return [f"{_bar(p)} {100 * p:3.0f} %  {emoji(label)} {label}" for label, p in ranked]


def _bar(share: float) -> str:
    full = round(share * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _long(heard: Heard) -> str:
    """The mean, and the longest stretches in their order, as many as there is room for."""
    if not heard.segments:
        return f"{emoji(None)} {_NO_ANSWER['no_speech']}"
    head = f"{clock(heard.duration_s)} long, {clock(heard.speech_s)} of it speech. In the mean:"
    lines = [head, "", *_bars(heard.scores)]
    longest = sorted(heard.segments, key=lambda one: -one.duration_s)
    for n in range(min(len(longest), _MOST_STRETCHES), 0, -1):
        stretches = [_stretch(one) for one in sorted(longest[:n], key=lambda one: one.start_s)]
        title = f"The longest of {len(longest)} stretches:" if n < len(longest) else "Its stretches:"
        text = "\n".join([*lines, "", title, *stretches, "", SHORT])
        if len(text) <= MOST_LETTERS:
            return text
    return "\n".join([*lines, "", SHORT])


def _stretch(one: Segment) -> str:
    label = one.label or "not sure"
    return f"{clock(one.start_s)}-{clock(one.end_s)}  {emoji(one.label)} {label} {100 * one.confidence:.0f} %"


def clock(seconds: float) -> str:
    """``3:07``, ``1:02:45``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""The notices that are shown with results: what they are, their limits, and the law.

One place, so that the command, the page, the bot and the documents say the same.
"""

from __future__ import annotations

__all__ = ["LIMITS", "NOTICE", "SHORT", "TO_TELL"]

SHORT = "Expressed emotion, not what a person feels. Not for use at work or in schools (EU AI Act, Art. 5)."
"""One line, below every result that a person reads."""

NOTICE = (
    "emovox names the emotion that a voice expresses, not what a person feels. In the EU it may not be "
    "used on people at work or in education (AI Act, Art. 5(1)(f)); elsewhere they must be told (Art. 50(3))."
)
"""Two sentences, where a service or a command introduces itself."""

LIMITS = (
    "The models learnt from acted speech in a few languages. Spontaneous speech, other languages, children's "
    "voices, noise and poor lines give worse answers. Text is not understood, and sarcasm is missed. An "
    "answer is no sign of health, honesty or intent; make no decision about a person on it."
)
"""How far a result can be trusted."""

TO_TELL = (
    "This recording is analysed by software that recognises the emotion expressed in a voice. It does not "
    "tell what a person feels."
)
"""What the speakers may be told (Art. 50(3)); the README has the same words."""

"""Evaluate a model as its users run it, and report what the test shared with the training.

``evaluate`` does all that ``emovox evaluate`` does. It uses ``predictions`` (the recogniser on labelled
clips), ``leakage`` (the stamp), ``robustness`` (the same clips under noise, codecs, ...) and ``scorecard``
(all figures as one document), on top of ``metrics``, which imports numpy alone.
"""

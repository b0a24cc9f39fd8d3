"""Many recordings, many processes, many machines.

``crew`` does many items in several processes, ``engines`` do shards of work here or on a cluster.
"""

from __future__ import annotations

from emovox.batch.crew import AHEAD, Outcome, run

__all__ = ["AHEAD", "Outcome", "run"]

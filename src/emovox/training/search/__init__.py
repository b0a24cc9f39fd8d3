"""Which settings? Tried on speakers of the training who are held out in turn, by unweighted average recall.

::

    found = search(x, emotions, speakers, ClassicalConfig(model="svc"), method="random", draws=20)
    fitted = fit(x, emotions, speakers, found.best)

Three ways: ``random`` judges every draw whole; ``halving`` judges all draws with a part of the means, which
are speakers for an estimator and epochs for a net, and the better third of them with three times as much,
until few get all (successive halving, Jamieson and Talwalkar, 2016); ``optuna`` proposes where earlier trials
were good (TPE), gives up a trial that is worse than the median at the same point, and goes on where an SQLite
study stopped.

The search is never given a test clip. The seed decides everything: a search again, or one interrupted and
resumed, finds the same. `emovox.training.search.nets` searches nets.
"""

from emovox.training.search.rows import Copies, search
from emovox.training.search.strategies import Method
from emovox.training.search.trials import SearchResult, Trial

__all__ = ["Copies", "Method", "SearchResult", "Trial", "search"]

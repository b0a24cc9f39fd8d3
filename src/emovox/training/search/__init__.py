"""Search of settings on held-out speakers of the training part, by unweighted average recall (UAR).

::

    found = search_classifier(x, emotions, speakers, ClassicalConfig(model="svc"), method="random", draws=20)
    fitted = fit(x, emotions, speakers, found.best)

There are three methods. ``random`` evaluates every draw in full. ``halving`` evaluates all draws with a
part of the budget (speakers for an estimator, epochs for a net) and the better third of them with three
times as much (successive halving, Jamieson and Talwalkar, 2016). ``optuna`` proposes settings near earlier
good ones (TPE), prunes a trial that is below the median at the same point, and resumes an SQLite study.

Test clips never take part. The same seed gives the same search, resumed or not.
`emovox.training.search.nets` searches nets.
"""

from emovox.training.search.classifiers import AugmentedRows, search_classifier
from emovox.training.search.strategies import Method, SearchPlan, SearchResult, Trial

__all__ = ["AugmentedRows", "Method", "SearchPlan", "SearchResult", "Trial", "search_classifier"]

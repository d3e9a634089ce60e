"""Frozen encoder in, scores out: features once, then one file per protocol, run by :mod:`.suite`.

A new protocol is one file here, its name in :data:`LABELLED` or :data:`LABEL_FREE` and a field of the same name in
:class:`.suite.Evaluation`. The first line of its module's docstring is what ``ssl-bench list`` prints, which is
why this file imports nothing.
"""

LABELLED = ("linear_probe", "layer_probe", "linear_probe_sgd", "svm", "mlp_probe", "knn", "kmeans", "gmm")
LABEL_FREE = ("rank", "reconstruction", "posthoc_reconstruction", "generation", "memorisation", "maps")
PROTOCOLS = LABELLED + LABEL_FREE

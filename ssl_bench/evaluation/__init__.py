"""Evaluation of a frozen encoder: its features are computed once, then scored by the protocols in `protocols/`.

:class:`.suite.Evaluation` runs the protocols. The README beside this file lists them and the steps to add one. This
file imports nothing, so that ``ssl-bench list`` is fast.
"""

LABELLED = (
    "linear_probe",
    "layer_probe",
    "noise_probe",
    "linear_probe_sgd",
    "svm",
    "mlp_probe",
    "knn",
    "kmeans",
    "gmm",
)
"""Protocols that need labels."""
LABEL_FREE = ("rank", "reconstruction", "posthoc_reconstruction", "generation", "memorisation", "maps")
"""Protocols that need no labels."""
PROTOCOLS = LABELLED + LABEL_FREE
VERSIONS = dict.fromkeys(PROTOCOLS, 1)
"""Version of each protocol. It is raised when its metrics change for the same features and settings.

Metrics of different versions are not averaged, and tables note that they are not comparable.
"""

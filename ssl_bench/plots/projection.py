"""Features in two dimensions: PCA, t-SNE and UMAP."""

import importlib
import math
from typing import Literal

import torch
from torch import Tensor

Projection = Literal["tsne", "umap", "pca"]
COMPONENTS = 50
"""Number of principal components that are the input of t-SNE and UMAP."""


def project(x: Tensor, method: Projection = "tsne", seed: int = 0) -> dict[str, Tensor]:
    """Project features ``(N, d)`` to two dimensions; returns ``(N, 2)`` for each name of a projection, PCA first.

    Args:
        x: features on the CPU.
        method: projection beside PCA, ``tsne`` or ``umap``; ``pca`` for PCA alone.
        seed: seed of random initialisations.
    """
    from sklearn.decomposition import PCA  # takes seconds to import

    unit = 2.0 ** math.frexp(float(x.abs().max()))[1]  # float32 squares of 1e-30 are 0, those of 1e30 are infinite
    pca = PCA(min(COMPONENTS, *x.shape), random_state=seed)
    components = pca.fit_transform((x / unit).numpy())
    share = 100 * pca.explained_variance_ratio_[:2].sum()
    projections = {f"PCA ({share:.0f} % of the variance)": unit * torch.from_numpy(components[:, :2])}
    if method == "umap":
        umap = importlib.import_module("umap").UMAP(random_state=seed)
        projections["UMAP"] = torch.from_numpy(umap.fit_transform(components))
    if method == "tsne":
        tsne = importlib.import_module("openTSNE").TSNE(
            perplexity=min(30, (len(x) - 1) / 3), random_state=seed, n_jobs=torch.get_num_threads()
        )
        projections["t-SNE"] = torch.tensor(tsne.fit(components).tolist())
    return projections

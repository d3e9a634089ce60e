"""An encoder as a transformer of scikit-learn."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ssl_bench.api.encoder import Encoder, load_encoder
from ssl_bench.data.resizing import resize_and_crop
from ssl_bench.errors import UserError


class EncoderTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of a trained encoder, as a step of a scikit-learn pipeline; `fit` only loads the encoder.

    A pickled transformer has the path of the run, not the weights.

    Args:
        run: a run folder, or a folder that `export` wrote.
        batch_size: number of images that are encoded at a time.
        trust: folders of modules with your own classes, see `load_encoder`.

    Attributes:
        encoder_: the encoder, after `fit`.
        n_features_in_: number of values of an image.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> from ssl_bench import EncoderTransformer
        >>> digits = load_digits()
        >>> x, y = digits.images[:, None] / 16, digits.target
        >>> encoder = EncoderTransformer("runs/vae-digits-s0-1a2b3c4d")
        >>> model = make_pipeline(encoder, KNeighborsClassifier()).fit(x[:900], y[:900])
        >>> model.score(x[900:], y[900:]) > 0.5
        True
    """

    def __init__(self, run: str | PathLike[str], batch_size: int = 256, trust: tuple[str | Path, ...] = ()):
        self.run = run
        self.batch_size = batch_size
        self.trust = trust

    def fit(self, X: Any, y: Any = None) -> "EncoderTransformer":
        """Load the encoder.

        Args:
            X: images, see `transform`; they are only checked.
            y: ignored.

        Raises:
            UserError: see `load_encoder` and `Encoder.forward`.
        """
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}, expected a number of at least 1")
        self.encoder_: Encoder = load_encoder(self.run, self.trust)
        self.n_features_in_ = int(np.prod(self.encoder_.image_shape))
        self._images(X)
        return self

    def transform(self, X: Any) -> np.ndarray[Any, Any]:
        """Features, float32 ``(N, feature_dim)``.

        Args:
            X: images ``(N, C, H, W)``, uint8 or float in [0, 1], or the same flattened to ``(N, C * H * W)``.

        Raises:
            UserError: see `Encoder.forward`.
        """
        check_is_fitted(self)
        images = self._images(X)
        with torch.inference_mode():
            parts = [self.encoder_(part) for part in images.split(self.batch_size)]
        return torch.cat(parts).numpy()

    def __getstate__(self) -> dict[str, Any]:
        """The state without the encoder, which is loaded again from the run folder."""
        return {name: value for name, value in super().__getstate__().items() if name != "encoder_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, and load the encoder if it was fitted."""
        super().__setstate__(state)
        if "n_features_in_" in state:
            self.encoder_ = load_encoder(self.run, self.trust)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, Any]:
        """Names ``encoder0``, ``encoder1``, ... of the features."""
        check_is_fitted(self)
        return np.array([f"encoder{i}" for i in range(self.encoder_.feature_dim)], dtype=object)

    def _images(self, X: Any) -> torch.Tensor:
        x = torch.as_tensor(np.asarray(X))
        shape = self.encoder_.image_shape
        if x.ndim == 2 and len(shape) == 3 and x.shape[1] == self.n_features_in_:
            x = x.reshape(len(x), *shape)
        x = x.float() if x.dtype == torch.float64 else x
        return resize_and_crop(x, shape)  # also checks shape, type and range

"""Score features in arrays."""

import contextlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_bench.errors import UserError, did_you_mean
from ssl_bench.evaluation.encoder import EvaluatedEncoder
from ssl_bench.evaluation.feature_file import features_of
from ssl_bench.evaluation.suite import Evaluation
from ssl_bench.runs.evaluation_settings import read_evaluation

Array = Tensor | np.ndarray[Any, Any]
Pair = tuple[Array, Array]


class Scores(dict[str, float]):
    """Metrics by name; printed as a table.

    Attributes:
        failed: for each protocol that failed, the reason in one line.
        notes: for each protocol that has some, what its metrics leave out.
        seconds: wall time of each protocol.
    """

    def __init__(
        self, metrics: Mapping[str, float], failed: dict[str, str], notes: dict[str, str], seconds: dict[str, float]
    ):
        super().__init__(metrics)
        self.failed, self.notes, self.seconds = failed, notes, seconds

    def __repr__(self) -> str:
        from ssl_bench.results.metrics import number_format
        from ssl_bench.results.row_text import heading

        width = max(map(len, map(heading, self)), default=0)
        lines = [f"{heading(name):{width}}  {value:{number_format([value])}}" for name, value in self.items()]
        lines += [f"{name} failed: {why}" for name, why in self.failed.items()]
        return "\n".join([*lines, *(f"{name}: {note}" for name, note in self.notes.items())])


def evaluate(
    train: Pair,
    test: Pair,
    validation: Pair | None = None,
    protocols: Iterable[str] | None = None,
    *,
    device: str | torch.device | None = None,
    figures: str | Path | None = None,
    **settings: Any,
) -> Scores:
    """Score features of frozen encoders, as `ssl-bench evaluate FILE` does.

    Args:
        train: features ``(N, d)`` of real numbers and labels ``(N,)``, integers or names, as numpy arrays or tensors.
        test: features and labels of the test images.
        validation: features and labels of the validation images; by default a tenth of the training images is held out.
        protocols: names of the protocols, see `ssl-bench list protocols`; by default all that apply.
        device: device of the computations; default a GPU if there is one.
        figures: folder in which the folder ``figures`` is made for plots of the features; by default there are none.
        **settings: settings of protocols, such as ``knn={"k": [1, 5]}`` or ``linear_probe={"folds": 3}``.

    Returns:
        The scores, a dict of metrics by name. Protocols that fail have no metrics; the reasons are in ``failed``.

    Raises:
        UserError: an array has a wrong shape or type, or a protocol or setting does not exist.

    Example:
        >>> import ssl_bench
        >>> from sklearn.datasets import load_digits
        >>> x, y = load_digits(return_X_y=True)
        >>> scores = ssl_bench.evaluate((x[:1000], y[:1000]), (x[1000:], y[1000:]), protocols=["knn"])
        >>> round(scores["knn_5/accuracy"], 1)
        95.9
    """
    arrays = {"train_features": train, "test_features": test, "validation_features": validation}
    named = {}
    for name, pair in arrays.items():
        if pair is None:
            continue
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            split = name.removesuffix("_features")
            raise UserError(f"{split}: {type(pair).__name__}, expected a pair of features (N, d) and labels (N,)")
        try:
            named[name], named[name.replace("features", "labels")] = map(_plain, pair)
        except ValueError as error:  # of numpy, about lists
            raise UserError(f"{name}: rows of different lengths, expected (N, d)") from error
    if isinstance(protocols, str):
        raise UserError(f"protocols is the text {protocols!r}, expected a list such as [{protocols!r}]")
    if protocols is not None:
        protocols = list(protocols)
        if figures is None and "maps" in protocols:
            raise UserError("protocols has 'maps', which makes plots: give figures=FOLDER")
        if figures is not None and "maps" not in protocols:
            protocols.append("maps")
    evaluation = _evaluation(protocols, settings)
    try:
        chosen_device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=chosen_device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device!r}: {str(error).splitlines()[0]}") from error
    with contextlib.ExitStack() as stack:
        folder = Path(figures or stack.enter_context(tempfile.TemporaryDirectory()))
        encoder = EvaluatedEncoder(features_of(named, "the arrays"), chosen_device, folder)
        if protocols is None and figures is None:
            chosen = [name for name in evaluation.chosen(encoder) if name != "maps"]
            evaluation = _evaluation(chosen, settings)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # the progress of the command
        result = evaluation(encoder)
    return Scores(result.metrics, result.failed, result.notes, result.seconds)


def _plain(array: Array) -> Array:
    """An array that can be read on the CPU; lists and columns of data frames are converted."""
    if isinstance(array, Tensor):
        return array.detach().cpu()
    plain = np.asarray(array)
    is_text = plain.dtype.kind == "O" and all(isinstance(value, str) for value in plain.flat)
    return plain.astype(str) if is_text else plain


def _evaluation(protocols: Iterable[str] | None, settings: dict[str, Any]) -> Evaluation:
    """The evaluation with these settings, which are checked as those of the command line."""
    known = {one.name for one in fields(Evaluation) if one.init and one.name != "protocols"}
    for name in settings:
        if name not in known:
            raise UserError(f"evaluate got the setting {name!r}: {did_you_mean(name, known)}")
    chosen = None if protocols is None else list(protocols)
    return read_evaluation({"protocols": chosen, **settings}, "ssl_bench.evaluate")[0]

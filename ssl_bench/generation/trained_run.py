"""Load a finished run: its data, its views, its trained method and the hash of its weights."""

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ssl_bench.config.agreement import load_run_method, read_config
from ssl_bench.config.identity import encoder_hash, names
from ssl_bench.config.run_inputs import data_and_views
from ssl_bench.data.fingerprint import check_data
from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import Shards
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.methods.inversion import InDomainInversion
from ssl_bench.methods.stylegan2 import StyleGAN2

CodeGenerator = StyleGAN2 | InDomainInversion
"""Methods with ``synthesize``, ``mean_code``, ``n_latent``, ``style_dim`` and ``image_shape``."""


@runtime_checkable
class Projective(Protocol):
    """A method that compares projections."""

    def project(self, x: Tensor) -> Tensor:
        """Project normalised images ``(N, C, H, W)`` to ``(N, d)``."""
        ...


class TrainedRun(NamedTuple):
    """A finished run.

    Attributes:
        data: data module of the run, set up.
        views: views of the run.
        method: trained method, frozen and in evaluation mode.
        weights_hash: hash of the method's weights.
        data_name: name of the data set in the run's folder name.
    """

    data: DataModule
    views: Views
    method: Method
    weights_hash: str
    data_name: str


def load_run(folder: Path, device: torch.device, root: Path | None = None) -> TrainedRun:
    """Load the data, the views and the trained method of a run folder.

    The method is built from its checkpoint, so that a run of inversion does not need the run of its generator.

    Args:
        folder: the run folder.
        device: device of the method.
        root: root of the data, if they have been moved.

    Raises:
        UserError: the folder is not a run folder, or has no checkpoint; or the data are not those of the run.
    """
    config = read_config(folder)
    if root is not None:
        config["data"].setdefault("init_args", {})["root"] = str(root.expanduser().absolute())
    method = load_run_method(folder, config).requires_grad_(False).to(device)
    data, views = data_and_views(config, folder)
    data.setup()
    check_data(data, folder, "give the folder of the data of the run with --data.root")
    return TrainedRun(data, views, method, encoder_hash(method, config), names(config)[1])


def load_generator(codes: Shards, device: torch.device) -> CodeGenerator:
    """Load the method whose generator the codes of a folder belong to, frozen.

    Raises:
        UserError: the folder has no codes, or the run of their generator is missing, was trained anew, or takes codes
            of another shape.
    """
    shape = codes.shape("codes")  # refuses a folder of views, which has no codes
    folder = Path(codes.notes["generator"])
    method = require_generator(load_run_method(folder).requires_grad_(False).to(device), folder)
    if (takes := (method.n_latent, method.style_dim)) != shape:
        raise UserError(f"{codes.folder} has codes of {shape}, the generator {folder} takes {takes}: make codes anew")
    if encoder_hash(method, read_config(folder)) != codes.key["generator"]:
        raise UserError(f"{codes.folder} has codes of other weights than {folder} has now: make codes anew")
    return method


def require_generator(method: Method, folder: Path) -> CodeGenerator:
    """Return the method if it synthesizes images from codes.

    Raises:
        UserError: it does not.
    """
    if not isinstance(method, StyleGAN2 | InDomainInversion):
        raise UserError(
            f"{folder} is a run of {type(method).__name__}, which has no codes: give one of inversion or stylegan2"
        )
    return method


def require_projections(method: Method, folder: Path) -> Projective:
    """Return the method if it has projections.

    Raises:
        UserError: it has none.
    """
    if not isinstance(method, Projective):
        raise UserError(
            f"{folder} is a run of {type(method).__name__}, which has no projections: give one of simclr or simsiam"
        )
    return method

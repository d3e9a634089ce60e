"""The public API: its names, and what importing it costs."""

import importlib
import pkgutil
import subprocess
import sys
from inspect import isclass

import pytest

import ssl_bench
from ssl_bench import losses
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.evaluation.suite import Evaluation

PUBLIC = [
    "DataModule", "Encoder", "EncoderTransformer", "Method", "RunError", "UserError", "Views", "compare", "evaluate",
    "export", "load_encoder", "load_run", "train",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert ssl_bench.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_imported_when_it_is_used_and_documented(name: str) -> None:
    found = getattr(ssl_bench, name)
    assert found.__name__ == name
    assert found.__doc__
    assert name in dir(ssl_bench)


LOSSES = {
    "adversarial": "non_saturating_discriminator non_saturating_generator hinge_discriminator hinge_generator "
    "wasserstein_discriminator gradient_penalty",
    "classification": "cross_entropy",
    "contrastive": "of_all_ranks info_nce nt_xent moco nearest neighbour_contrast alignment negative_cosine simsiam "
    "byol simsiam_alignment",
    "diffusion": "linear_schedule per_image diffuse denoise ancestral_step ddim_step",
    "dino": "teacher_distribution dino mean_output",
    "hashing": "scramble random_order stream normal_of_images",
    "jacobian": "unit jacobian_norm jacobian_penalty",
    "masked": "patchify unpatchify normalize_patches masked_error",
    "mutual_information": "log_mean_exp donsker_varadhan",
    "redundancy": "invariance variance covariance barlow_twins",
    "rotation": "rotate rotate_images",
    "sigreg": "prediction directions epps_pulley sigreg",
    "structural": "jensen_shannon bhattacharyya centre scatter log_determinant neighbour_indices neighbour_similarity "
    "norm_hinge precise",
    "stylegan": "r1 path_lengths",
    "swav": "sinkhorn codes swapped_prediction",
    "variational": "gaussian_log_likelihood bernoulli_log_likelihood gaussian_entropy kl_to_standard_normal "
    "kl_gaussian set_log_prior reparameterize",
}


def test_the_losses_have_these_names() -> None:
    assert {name for _, name, _ in pkgutil.iter_modules(losses.__path__)} == {*LOSSES}


@pytest.mark.parametrize("module", LOSSES)
def test_the_losses_of_a_module_have_these_names(module: str) -> None:
    found = importlib.import_module(f"ssl_bench.losses.{module}")
    functions = {
        name
        for name, value in vars(found).items()
        if callable(value) and value.__module__ == found.__name__ and not isclass(value) and name[0] != "_"
    }
    assert functions == {*LOSSES[module].split()}


def test_the_protocols_have_these_names() -> None:
    """The module of a protocol has the name by which it is chosen."""
    found = {type(getattr(Evaluation(), name)).__module__ for name in PROTOCOLS}
    assert found == {f"ssl_bench.evaluation.protocols.{name}" for name in PROTOCOLS}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ssl_bench' has no attribute 'lode_run'"):
        ssl_bench.lode_run  # noqa: B018


def test_import_of_the_package_imports_nothing_large() -> None:
    code = "import sys, ssl_bench; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lightning", "numpy", "sklearn", "yaml", "rich"} & set(found)


def test_import_of_the_package_takes_no_time() -> None:
    code = "import time; start = time.process_time(); import ssl_bench; print(time.process_time() - start)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(found) <= 0.05


def test_a_usage_error_is_a_value_error() -> None:
    assert issubclass(ssl_bench.UserError, ValueError)

"""Names, hashes and folders of runs."""

from pathlib import Path

from ssl_bench.config.identity import config_hash, names, run_folder
from tests.config.resolved import resolved


def test_hash_tells_settings_apart_and_forgets_what_they_are_called() -> None:
    config = resolved()
    assert config_hash(config) == config_hash(resolved(None, "--names.method=other"))
    assert config_hash(config) != config_hash(resolved(None, "--data.root=/elsewhere"))
    assert config_hash(config) != config_hash(resolved(None, "--views.recipe=[normalize]"))
    assert config_hash(config) != config_hash(resolved(None, "--method.sigma2=0.3"))
    assert config_hash(config) != config_hash(resolved(None, "--seed=1"))
    assert config_hash(config, seed=False) == config_hash(resolved(None, "--seed=1"), seed=False)


def test_run_folder_is_named_after_method_data_seed_and_hash() -> None:
    config = resolved(None, "--seed=3")
    assert run_folder(config, Path("there")) == Path("there") / f"simvae-digits-s3-{config_hash(config)}"


def test_a_variant_is_part_of_the_methods_name() -> None:
    assert names(resolved("simvae-mnist-released")) == ("simvae-released", "mnist")
    assert names(resolved("vae-fashion_mnist")) == ("vae", "fashion_mnist")

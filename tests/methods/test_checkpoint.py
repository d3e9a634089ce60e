"""Reading of checkpoints: damaged files, files of others and files with code are errors of one line."""

import io
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_bench.config.resolve import build, resolve
from ssl_bench.config.stack import stack
from ssl_bench.errors import UserError
from ssl_bench.methods.checkpoint import load_method, read_checkpoint

TINY = ["--method.encoder.hidden=[8]", "--method.decoder.hidden=[8]"]


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    method = build(resolve([*stack("vae", "digits", None), *TINY])).method
    return {"method": method.config, "state_dict": method.state_dict()}


@pytest.fixture(scope="module")
def content(checkpoint: dict[str, Any]) -> bytes:
    """Bytes of a checkpoint."""
    return as_bytes(checkpoint)


def as_bytes(value: object, **settings: Any) -> bytes:
    torch.save(value, file := io.BytesIO(), **settings)
    return file.getvalue()


def refusal(file: Path) -> str:
    """The message with which a file is refused: one line that names the file, in our own words."""
    with pytest.raises(UserError) as raised:
        load_method(file)
    message = str(raised.value)
    assert str(file) in message
    assert "\n" not in message
    assert not [word for word in ("weights_only", "Errno", "pickle", "PytorchStreamReader") if word in message]
    return message


class Command:
    """An object that runs a command when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def archive_without_tensors() -> bytes:
    np.savez(file := io.BytesIO(), features=np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("junk", "message"),
    [
        (b"", "is empty: delete it to train the run anew"),
        (b"not a checkpoint\n" * 100, "is damaged, or is no file of torch"),
        (b"\0" * 5000, "is damaged, or is no file of torch"),
        (b"PK\3\4", "is damaged"),
        (b"\x80", "is damaged"),
        (archive_without_tensors(), "is damaged, or is no file of torch"),
        (pickle.dumps({"method": {}}, 2), "is damaged, or is no file of torch"),
        (as_bytes(torch.ones(3)), "contains no method: expected a checkpoint that `ssl-bench fit` wrote"),
        (as_bytes({"state_dict": {"a": torch.ones(3)}}), "contains no method"),
        (as_bytes({"state_dict": [], "method": {"class_path": "a.B"}}), "contains no method"),
        (as_bytes({"a": torch.ones(3)}, _use_new_zipfile_serialization=False), "contains no method"),
    ],
)
def test_junk_is_refused_in_one_line(tmp_path: Path, junk: bytes, message: str) -> None:
    file = tmp_path / "last.ckpt"
    file.write_bytes(junk)
    assert message in refusal(file)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_file_with_code_is_refused_and_the_code_is_not_run(
    tmp_path: Path, checkpoint: dict[str, Any], new_format: bool
) -> None:
    code = {**checkpoint, "extra": Command(tmp_path / "executed")}
    (tmp_path / "last.ckpt").write_bytes(as_bytes(code, _use_new_zipfile_serialization=new_format))
    message = refusal(tmp_path / "last.ckpt")
    assert "objects other than tensors and plain values, which are refused because loading them would run" in message
    assert not (tmp_path / "executed").exists()


def test_a_folder_without_a_checkpoint_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    assert "no checkpoint at" in refusal(tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").mkdir(parents=True)
    assert "no checkpoint at" in refusal(tmp_path)


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_off_is_damaged(tmp_path: Path, content: bytes, part: float) -> None:
    file = tmp_path / "last.ckpt"
    file.write_bytes(content[: int(part * len(content))])
    assert "is damaged" in refusal(file)


def test_a_changed_bit_is_found_wherever_it_is(tmp_path: Path, checkpoint: dict[str, Any], content: bytes) -> None:
    """torch itself loads changed weights. A change of padding and of dates changes nothing, and is accepted."""
    file = tmp_path / "last.ckpt"
    generator = random.Random(0)
    refused = 0
    for bit in (generator.randrange(8 * len(content)) for _ in range(200)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            found = read_checkpoint(file)
        except UserError:
            refused += 1
            refusal(file)
        else:
            assert found["method"] == checkpoint["method"]
            weights = checkpoint["state_dict"].items()
            assert all(torch.equal(found["state_dict"][name], value) for name, value in weights)
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("{first}"), "weights do not fit VAE (no {first})"),
        (lambda weights: weights.update(extra=torch.ones(1)), "(extra, which the method does not have)"),
        (lambda weights: weights.update({"{first}": torch.ones(2, 3)}), "{first} of shape (2, 3) instead of ("),
        (lambda weights: weights.update({"{first}": "text"}), "{first} of shape None instead of ("),
        (lambda weights: weights.clear() or weights.update(a=1), " more)"),
    ],
)
def test_weights_that_do_not_fit_the_method_are_named(
    tmp_path: Path, checkpoint: dict[str, Any], change: Any, message: str
) -> None:
    first = next(iter(checkpoint["state_dict"]))
    weights = {("{first}" if name == first else name): value for name, value in checkpoint["state_dict"].items()}
    change(weights)
    weights = {name.format(first=first): value for name, value in weights.items()}
    torch.save({**checkpoint, "state_dict": weights}, tmp_path / "last.ckpt")
    assert message.format(first=first) in refusal(tmp_path / "last.ckpt")


def test_a_method_that_cannot_be_built_is_named(tmp_path: Path, checkpoint: dict[str, Any]) -> None:
    method = {**checkpoint["method"], "init_args": {"depth": 3}}
    torch.save({**checkpoint, "method": method}, tmp_path / "last.ckpt")
    assert "its method cannot be built" in refusal(tmp_path / "last.ckpt")

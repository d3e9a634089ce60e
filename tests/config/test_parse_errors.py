"""Errors of keys and values: one line with the nearest valid ones."""

from pathlib import Path

import pytest

from ssl_bench.cli import main
from ssl_bench.errors import UserError
from tests.config.resolved import resolved


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method.sigm2=1"], "no key 'method.sigm2': did you mean sigma2?"),
        (["--method.encoder.hiden=[1]"], "no key 'method.encoder.hiden': did you mean hidden?"),
        (["--data.batchsize=8"], "no key 'data.batchsize': did you mean batch_size?"),
        (["--out=x"], "no key 'out': known: channels_last, config, curve, data, "),
        (["--sed=1"], "no key 'sed': did you mean seed?"),
        (["--trainer.max_epoch=1"], "no key 'trainer.max_epoch': did you mean trainer.max_epochs"),
        (["--method.sigma2=x"], "method.sigma2 got 'x', expected float"),
        (["--method.optimizer.lr=x"], "method.optimizer.lr got 'x', expected float"),
        (["--trainer.max_epochs=x"], "trainer.max_epochs got 'x', expected int"),
        (["--seed=-1"], "--seed must be an integer in [0, 4294967295], got -1"),
        (["--seed=99999999999999999999"], "--seed must be an integer in [0, 4294967295], got 99999999999999999999"),
        (["--method.encoder=Foo"], "method.encoder got 'Foo': no class or value of that kind"),
        (
            ["--method.prior=flat"],
            "method.prior got 'flat', expected Literal['uniform', 'gaussian', 'gaussian_plug_in']",
        ),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_what_is_right(flags: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        resolved(None, *flags)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_file_cannot_say_where_runs_are_written(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("out: elsewhere", encoding="utf-8")
    with pytest.raises(UserError, match="no key 'out'"):
        resolved(None, f"--config={tmp_path / 'mine.yaml'}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"trainer: hello", "trainer got 'hello', expected keys with values, or a YAML file of them"),
        (b"\xff\xfe\x00\x81", "a file of --config is not text (invalid start byte): give a configuration in YAML"),
    ],
)
def test_a_file_without_keys_is_refused_in_one_line(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    command = ["fit", "--method=simvae", "--data=digits", "--epochs=0", f"--out={tmp_path / 'runs'}"]
    assert main([*command, f"--config={tmp_path / 'mine.yaml'}"]) == 2
    assert capsys.readouterr().err == f"ssl-bench: {message}\n"


def test_a_typo_in_a_file_is_found_like_one_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("method: {init_args: {sigm2: 1}}", encoding="utf-8")
    with pytest.raises(UserError, match=r"no key 'method\.sigm2': did you mean sigma2"):
        resolved(None, f"--config={tmp_path / 'typo.yaml'}")

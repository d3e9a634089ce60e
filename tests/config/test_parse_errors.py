"""Errors of keys and values: one line with the nearest valid ones."""

import re
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
        (["--data.batchsize=8"], "no key 'data.batchsize': did you mean batch_size or global_batch_size?"),
        (["--out=x"], "no key 'out': known: channels_last, config, curve, data, "),
        (["--sed=1"], "no key 'sed': did you mean seed?"),
        (["--trainer.max_epoch=1"], "no key 'trainer.max_epoch': did you mean trainer.max_epochs"),
        (["--method.sigma2=x"], "method.sigma2 got 'x', expected float"),
        (["--method.optimizer.lr=x"], "method.optimizer.lr got 'x', expected float"),
        (["--trainer.max_epochs=x"], "trainer.max_epochs got 'x', expected int"),
        (["--seed=-1"], "--seed must be an integer in [0, 4294967295], got -1"),
        (["--seed=99999999999999999999"], "--seed must be an integer in [0, 4294967295], got 99999999999999999999"),
        (["--method.encoder=Foo"], "method.encoder got 'Foo': no class or value of that kind"),
        (["--method.optimizer=sgd"], "method.optimizer got 'sgd': no class or value of that kind; give a class by its "
         "import path; did you mean SGD or"),
        (["--method.schedule=3"], "method.schedule got '3': no class or value of that kind"),
        (["--trainer.gradient_clip_val=a"], "trainer.gradient_clip_val got 'a', expected int or float"),
        (["--trainer.log_every_n_steps=a"], "trainer.log_every_n_steps got 'a', expected int"),
        (["--trainer.log_every_n_steps=-1"], "trainer.log_every_n_steps must be an integer of at least 0"),
        (["--trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val must be a number of at least 0"),
        (["--evaluation.gmm.covariancce=1"], "no key 'evaluation.gmm.covariancce': did you mean evaluation.gmm.cova"),
        (
            ["--method.prior=flat"],
            "method.prior got 'flat', expected uniform or gaussian or gaussian_plug_in",
        ),
    ],
)  # fmt: skip
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
        (b"trainer: hello", "{file}: trainer got 'hello', expected keys with values, or a YAML file of them"),
        (b"\xff\xfe\x00\x81", "{file}, line 1: not text in UTF-8; give a YAML file of settings"),
    ],
)
def test_a_file_without_keys_is_refused_in_one_line(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    command = ["fit", "--method=simvae", "--data=digits", "--epochs=0", f"--out={tmp_path / 'runs'}"]
    assert main([*command, f"--config={tmp_path / 'mine.yaml'}"]) == 2
    assert capsys.readouterr().err == f"ssl-bench: {message.format(file=tmp_path / 'mine.yaml')}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("method: {init_args: {optimizer: true}}", "method.optimizer got 'True': no class or value of that kind"),
        ("method: {init_args: {optimizer: {class_path: 3}}}", "method.optimizer got"),
        ("method: {class_path: {a: 1}}", "method got"),
        ("method: {class_path: VEA}", "method got 'VEA': no class or value of that kind"),
        ("method: {class_path: ssl_bench.methods.vae.VEA}", "method got ssl_bench.methods.vae.VEA, which does not "
         "exist: did you mean VAE"),
        ("method: {class_path: ssl_bench.networks.mlp.MLPDecoder}", "method got ssl_bench.networks.mlp.MLPDecoder, "
         "which is no subclass of Method"),
        ("data: {class_path: ssl_bench.data.Digit}", "data got ssl_bench.data.Digit, which does not exist: did you "
         "mean Digits"),
        ("evaluation: {linear_probe_sgd: [1]}", "evaluation.linear_probe_sgd got [1], expected keys with values"),
        ("evaluation: {gmm: null}", "evaluation.gmm got None, expected keys with values"),
        ("names: null", "names got None, expected keys with values"),
        ("trainer: {strategy: 3}", "trainer.strategy"),
    ],
)  # fmt: skip
def test_a_value_of_another_form_is_one_line_without_the_words_of_the_parser(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as error:
        resolved(None, f"--config={tmp_path / 'mine.yaml'}")
    assert str(error.value).startswith(message)
    assert not re.search("\n|Parser key|Does not validate|NestedArg|Namespace|<class", str(error.value))


def test_a_typo_in_a_file_is_found_like_one_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("method: {init_args: {sigm2: 1}}", encoding="utf-8")
    with pytest.raises(UserError, match=r"no key 'method\.sigm2': did you mean sigma2"):
        resolved(None, f"--config={tmp_path / 'typo.yaml'}")

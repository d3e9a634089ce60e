"""`--KEY.help`: the settings of a chosen class, one by one, and nothing of other classes."""

from pathlib import Path
from typing import Annotated, Literal

import pytest

from ssl_bench.catalogue import config_names
from ssl_bench.cli import main
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import choose
from ssl_bench.ranges import Interval, PositiveInt
from ssl_bench.runs.settings_help import descriptions, find, first_sentence, ranges, settings_help, type_text

DIGITS = ["--method", "simvae", "--data", "digits"]


def lines_of(key: str, width: int, *names: str) -> list[str]:
    method, data = names or ("simvae", "digits")
    kind, values = find(key, to_dict(resolve([*choose("data", data), *choose("method", method)])))
    return settings_help(key, kind, values, width)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("method", config_names("method"))
def test_help_on_a_method_has_every_argument_on_one_screen(method: str, width: int) -> None:
    lines = lines_of("method", width, method, "digits")
    arguments = to_dict(resolve([*choose("data", "digits"), *choose("method", method)]))["method"]["init_args"]
    listed = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert [name for name in listed if name in arguments] == list(arguments)
    assert len(lines) <= 70
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("data", config_names("data"))
def test_every_setting_of_a_data_set_is_described(data: str) -> None:
    kind, values = find("data", to_dict(resolve([*choose("data", data), *choose("method", "simvae")])))
    assert values
    assert set(values) <= descriptions(kind).keys()


def test_the_default_is_the_value_of_the_chosen_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *DIGITS, "--method.help", "--method.sigma2=0.3"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "sigma2 FLOAT" in output
    assert "default 0.3)" in output
    assert "encoder CLASS" in output
    assert " image_shape " not in output  # given by the data


def test_ranges_and_options_are_part_of_the_help() -> None:
    text = " ".join(" ".join(lines_of("method", 200, "ssgan", "digits")).split())
    assert "n_dis INT" in text
    assert "(at least 1; default 1)" in text


def test_parts_have_help_of_their_own_and_another_class_can_be_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert "k [INT,...]" in "\n".join(lines_of("evaluation.knn", 80))
    assert lines_of("method.schedule", 80)[0].startswith("  Schedule")
    assert "hidden [INT,...]" in "\n".join(lines_of("method.encoder", 80))
    assert main(["bench", *DIGITS, "--method.encoder.help", "ssl_bench.networks.resnet.ResNetEncoder"]) == 0
    assert capsys.readouterr().out.startswith("  ResNetEncoder")


@pytest.mark.parametrize("key", ["evaluation", "views", "trainer", "data", "curve"])
@pytest.mark.parametrize("width", [80, 200])
def test_help_on_the_other_parts_fits_on_a_screen_and_needs_no_names(
    key: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["bench", f"--{key}.help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= 70


@pytest.mark.usefixtures("their_package")
@pytest.mark.parametrize("name", ["pairs", "their_package.model.Pairs"])
@pytest.mark.parametrize("data", [[], ["--data=digits"]])
def test_help_on_a_method_from_outside_has_its_arguments(
    name: str, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", f"--method={name}", *data, "--method.help"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "Pairs Contrast pairs of views" in output
    assert "margin FLOAT distance of a pair (default 2.5)" in output
    assert "decay_all true|false" in output


def test_help_on_the_command_has_the_arguments_of_the_chosen_method(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bench", "--method=simvae", "--help"]) == 0
    command, _, method = capsys.readouterr().out.partition("arguments of the method:")
    assert "--epochs N" in command
    assert "sigma2 FLOAT" in method
    assert max(map(len, method.splitlines())) <= 80


def test_evaluate_has_the_help_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--evaluation.help"]) == 0
    assert "knn SETTINGS" in capsys.readouterr().out
    assert main(["evaluate", "pca", "--data", "digits", "--method.help"]) == 0
    assert "components INT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--metod.help", "--metod.help: no settings under 'metod': did you mean method?"),
        ("--method.encodr.help", "--method.encodr.help: no settings under 'encodr': did you mean encoder or decoder?"),
        ("--method.sigma2.help", "--method.sigma2.help: no settings under 'sigma2': known: decoder, encoder"),
    ],
)
def test_an_unknown_part_is_a_usage_error(flag: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *DIGITS, flag]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("hint", "text", "range_"),
    [
        (int, "INT", []),
        (PositiveInt | None, "INT|null", ["at least 1"]),
        (Annotated[float, Interval(0, 1)], "FLOAT", ["in [0, 1]"]),
        (Literal["a", "b"], "{a,b}", []),
        (tuple[int, ...], "[INT,...]", []),
        (bool, "true|false", []),
        (Path | None, "PATH|null", []),
    ],
)
def test_types_are_short(hint: object, text: str, range_: list[str]) -> None:
    assert type_text(hint) == text
    assert ranges(hint) == range_


def test_one_sentence_of_a_description_is_shown() -> None:
    assert first_sentence("weight of the\n  KL. A second one.") == "weight of the KL"
    assert first_sentence("learning rate (default: 1e-3)") == "learning rate"
    assert first_sentence("``a`` of Eq. 7, see `b`.") == "a of Eq. 7, see `b`"

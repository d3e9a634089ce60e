"""The command line: usage errors, help, and what is imported for them."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_bench.cli import main
from ssl_bench.evaluation.feature_file import SUFFIXES
from ssl_bench.results.record import Record
from ssl_bench.runs.checks import FEATURE_SUFFIXES
from ssl_bench.runs.train_command import requested_help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--method", "simvea", "--data", "digits"], "no method named 'simvea': did you mean simvae or"),
        (["bench"], "nothing to run: give --method and --data"),
        (["evaluate", "nowhere"], "no config.yaml in nowhere: give a run folder, an encoder"),
        (["evaluate"], "nothing to score: give a run folder, a file of features, or pixels"),
        (["list", "simvea"], "nothing matches 'simvea': did you mean simvae or"),
        (["bench", "--metod.help"], "--metod.help: no settings under 'metod': did you mean method?"),
        (["evaluate", "pixels"], "--data is missing: give one of celeba"),
        (["evaluate", "timm", "--data", "digits"], "no encoder named 'timm': give pixels, pca, random, timm/NAME"),
        (["evaluate", "timm/resnet1", "--data", "digits"], "timm/resnet1: "),
        (["evaluate", "nowhere.npz"], "no file nowhere.npz: give features in .safetensors"),
        (["evaluate", "nowhere", "--labels", "y.npy"], "--labels does not go with nowhere"),
        (["evaluate", "x.npz", "--labels", "y.npy"], "with x.npz: it is for features in a .npy file"),
        (["fit", "--method", "vae", "--data", "digits", "--epochs=-1"], "--epochs must be an integer of at least 0"),
        (["table", "nowhere"], "no table and no folder named 'nowhere': give a folder of runs"),
        (["evaluate", "resnet18"], "a model of timm as timm/resnet18"),
        (["evaluate", "resnet18", "--data", "digits"], "timm's models are timm/NAME, such as timm/resnet18"),
        (["evaluate", "nowhere.npz", "--trainer.max_epochs=1"], "no file nowhere.npz"),
        (["fit", "--experiment="], "no experiment named ''"),
        (["benhc"], "COMMAND got 'benhc': did you mean bench?"),
        (["table", "--forma", "csv", "--wrong"], "unrecognized arguments: --wrong"),
        (["bench", "--method", "simvae", "--data", "cifar10", "--data.root=nowhere"], "cifar-10"),
        (["bench", "--method", "simvae", "--data", "digits", "--out=/dev/null"], "cannot write to /dev/null"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="simvea"):
        main(["bench", "--method", "simvea", "--data", "digits", "--debug"])


VAE = ["fit", "--method=vae", "--data=digits"]


def run_without_torch(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; its error stream ends with the slow packages that it has imported."""
    code = f"""
        import sys
        from ssl_bench.cli import main
        try:
            sys.exit(main({arguments!r}))
        finally:
            slow = {{"torch", "lightning", "sklearn", "jsonargparse"}} & set(sys.modules)
            print("imported:", *sorted(slow), file=sys.stderr)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd=folder
    )


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "simvae"], ["table", "."], ["bench", "--help"]])
def test_commands_that_train_nothing_do_not_import_what_trains(arguments: list[str], tmp_path: Path) -> None:
    """Lightning alone takes 8 to 11 s to import, and these answer in two."""
    Record(
        method="simvae", data="digits", seed=0, epochs=1, config_hash="a", setting_hash="b", commit=None,
        command="ssl-bench bench", device="cpu", metrics={"knn_5/accuracy": 90.0},
    ).write(tmp_path)  # fmt: skip
    done = run_without_torch(arguments, tmp_path)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr.strip() == "imported:"


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench"],
        ["bench", "--method", "simvea", "--data", "digits"],
        ["fit", "--method", "simvae"],
        ["bench", "--experiment", "simvae-digts"],
        ["evaluate"],
        ["evaluate", "nowhere"],
        ["evaluate", "nowhere.npz"],
        ["evaluate", "pixels"],
        ["evaluate", "pixels", "--data", "digts"],
        ["evaluate", "pixels", "--data", "digits", "--devices", "two"],
        ["evaluate", "timm", "--data", "digits"],
        *(
            [*VAE, flag]
            for flag in (
                "--epochs=-1",
                "--seed=-1",
                "--devices=0",
                "--sed=1",
                "--trainer.max_epoch=3",
                "--trainer.precision=13",
                "--trainer.gradient_clip_val=-1",
                "--trainer.num_nodes=2",
                "--config=nowhere.yaml",
                "--config=.",
            )
        ),
        *(
            [*VAE, *flags]
            for flags in (
                ["--method.latent_dim=0"],
                ["--method.latent_dim", "0"],
                ["--method.sigm2=1"],
                ["--method.optimizer=sgd"],
                ["--views.num_views=a"],
                ["--data.batch_size=-5"],
                ["--evaluation.protocols=[knnn]"],
                ["--evaluation.protocls=[knn]"],
            )
        ),
        ["fit", "--method=vae", "--data=image_folder", "--data.root=nowhere"],
        ["evaluate", "pixels", "--data=parquet", "--data.root=nowhere"],
        ["fit", "--method=vae", "--data=image_folder", "--config=missing_root.yaml"],
        ["evaluate", "pixels", "--data", "digits", "--seed=-1"],
        ["evaluate", "resnet18"],
        ["table", "nowhere"],
        ["table", "--format", "html"],
        ["list", "simvea"],
    ],
)
def test_usage_errors_are_found_before_torch_is_imported(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "missing_root.yaml").write_text("data: {init_args: {root: nowhere}}")
    done = run_without_torch(arguments, tmp_path)
    assert done.returncode == 2
    message, imported = done.stderr.strip().splitlines()
    assert message.startswith("ssl-bench: ")
    assert imported == "imported:"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--seed=1"], ("", ["--seed=1"])),
        (["--method.help"], ("method", [])),
        (["--evaluation.knn.help", "--seed=1"], ("evaluation.knn", ["--seed=1"])),
        (
            ["--a=1", "--method.encoder.help", "x.Y", "--b=2"],
            ("method.encoder", ["--a=1", "--b=2", "--method.encoder=x.Y"]),
        ),
        (["--method.encoder.help=x.Y"], ("method.encoder", ["--method.encoder=x.Y"])),
    ],
)
def test_help_on_settings_is_separated_from_other_flags(flags: list[str], expected: tuple[str, list[str]]) -> None:
    assert requested_help(flags) == expected


@pytest.mark.parametrize("command", [["bench"], ["evaluate"]])
def test_help_of_a_command_names_the_help_on_its_settings(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    try:
        code = main([*command, "--help"])
    except SystemExit as end:  # of argparse
        code = int(end.code or 0)
    assert code == 0
    output = capsys.readouterr().out
    assert "--evaluation.help" in output
    assert max(map(len, output.splitlines())) <= 80


def test_endings_of_feature_files_are_those_that_are_read() -> None:
    assert FEATURE_SUFFIXES == SUFFIXES


def test_a_full_disk_is_one_line_wherever_it_is_met(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        with Path("/dev/full").open("w") as file:
            file.write("text")

    monkeypatch.setattr("ssl_bench.cli.run", fail)
    assert main(["list"]) == 1
    expected = "ssl-bench: cannot write: No space left on device: free some space, and the same command resumes\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID"])
def test_a_rank_in_the_environment_that_is_no_integer_is_one_line(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "first")
    assert main(VAE) == 2
    assert f"ssl-bench: {name} must be an integer of at least 0, got 'first'" in capsys.readouterr().err


SETTINGS = {
    "seed": "3", "trainer.max_epochs": "7", "trainer.devices": "2", "trainer.log_every_n_steps": "9",
    "data.init_args.batch_size": "8", "views.num_views": "4", "evaluation.knn.k": "[3]", "names.data": "mine",
    "curve.images": "50", "channels_last": "true", "reference.source": "ours",
}  # fmt: skip
"""Keys with other values than in the file of `write_file`."""


def write_file(path: Path, method: str = "") -> Path:
    """Write a file that sets the keys of `SETTINGS`."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "seed: 1\ntrainer: {max_epochs: 2, devices: 1, log_every_n_steps: 10}\n"
        "data: {class_path: ssl_bench.data.Digits, init_args: {batch_size: 16}}\n"
        "views: {recipe: identity, num_views: 1}\nevaluation: {knn: {k: [1]}}\nnames: {data: file}\n"
        f"curve: {{images: 20}}\nchannels_last: false\nreference: {{source: file}}\n{method}"
    )
    return path


def value_in(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


FILES = [
    ["fit", "--config", "{run}"],
    ["fit", "--config={run}"],
    ["bench", "--method=vae", "--data=digits", "--config={run}"],
    ["fit", "--experiment=vae-digits", "--config", "{run}"],
    ["evaluate", "pixels", "--data=digits", "--config", "{part}"],
]
"""Ways to give a file."""


def with_files(given: list[str], flags: list[str], first: str, folder: Path) -> list[str]:
    """A command of `FILES` with flags before or after its files, which are written to a folder."""
    run = write_file(folder / "vae-digits-s1-0123abcd" / "config.yaml", "method: ssl_bench.methods.vae.VAE\n")
    command, *words = [word.format(run=run, part=write_file(folder / "part.yaml")) for word in given]
    order = [*flags, *words] if first == "flags" else [*words, *flags]
    if command == "evaluate":
        order = [words[0], *(word for word in order if word != words[0])]
    return [command, *order]


@pytest.mark.parametrize("first", ["flags", "files"])
@pytest.mark.parametrize(
    ("given", "short"),
    [(given, short) for given in FILES for short in (["seed"], ["seed", "epochs", "devices"])][:-1],
)
def test_flags_replace_the_settings_of_files_in_any_order(
    given: list[str], short: list[str], first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"trainer.max_epochs": "epochs", "trainer.devices": "devices"}
    own = {key: name for key, name in keys.items() if name in short}
    flags = [f"--{own.get(key, key.replace('.init_args', ''))}={value}" for key, value in SETTINGS.items()]
    assert main([*with_files(given, flags, first, tmp_path), "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    found = {key: value_in(config, key) for key in SETTINGS}
    expected = {key: yaml.safe_load(value) for key, value in SETTINGS.items()}
    assert {key: int(v) if key == "trainer.devices" else v for key, v in found.items()} == expected


@pytest.mark.parametrize("first", ["flags", "files"])
@pytest.mark.parametrize("given", FILES)
def test_out_is_the_folder_of_the_runs_with_files_in_any_order(given: list[str], first: str, tmp_path: Path) -> None:
    flags = ["--evaluation.protocols=[knn]", "--trainer.accelerator=cpu", f"--out={tmp_path / 'there'}"]
    networks = [f"--method.{name.lower()}=ssl_bench.networks.mlp.MLP{name}" for name in ("Encoder", "Decoder")]
    flags += [] if given[0] == "evaluate" else ["--epochs=0", *networks]
    assert main(with_files(given, flags, first, tmp_path)) == 0
    assert len(list((tmp_path / "there").iterdir())) == 1


@pytest.mark.parametrize("chosen", [["--method=simclr", "--data=digits"], ["--experiment=simvae-digits"]])
@pytest.mark.parametrize("first", [True, False])
def test_a_file_of_another_method_than_chosen_is_refused(
    chosen: list[str], first: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_file(tmp_path / "mine.yaml", "method: {class_path: ssl_bench.methods.vae.VAE}\n")
    flags = [f"--config={file}"]
    assert main(["fit", *(flags + chosen if first else chosen + flags), f"--out={tmp_path / 'runs'}"]) == 2
    assert f"{file} is of the method ssl_bench.methods.vae.VAE, but the command line" in capsys.readouterr().err


def test_a_file_of_another_data_set_than_chosen_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_file(tmp_path / "mine.yaml")
    assert main(["evaluate", "pixels", "--data=mnist", "--config", str(file)]) == 2
    assert f"{file} is of the data ssl_bench.data.Digits, but the command line" in capsys.readouterr().err

"""Commands, links and names in README.md and in the reference pages.

Commands that need neither data nor much time are run. Those that train on other data are resolved to a configuration,
commands of `views` are parsed, and the flags of scripts are compared with their help.
"""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ssl_bench.api.encoder import load_encoder
from ssl_bench.api.export import write_encoder
from ssl_bench.catalogue import config_names
from ssl_bench.cli import main
from ssl_bench.config.resolve import resolve
from ssl_bench.config.stack import stack
from ssl_bench.evaluation import PROTOCOLS
from ssl_bench.results.record import Record
from ssl_bench.runs.arguments import command_line
from ssl_bench.runs.views import command_parser, read_arguments
from tests.results.report.runs import synthetic, write_runs

ROOT = Path(__file__).parent.parent
FOLDERS = ("ssl_bench/*", "configs", "benchmarks", "benchmarks/results")
PATHS = [ROOT / "README.md", *(path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/README.md")))]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PATHS}
README = PAGES["README.md"]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("[!R]*.md"))


def commands(text: str) -> list[str]:
    """Commands of the bash blocks, without comments; a line that ends in a backslash continues."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [command for line in lines if (command := re.split(r"(?:^|\s)#", line)[0].strip())]


COMMANDS = list(dict.fromkeys(command for page in PAGES.values() for command in commands(page)))
CHEAP = ["--trainer.accelerator=cpu", "--evaluation.mlp_probe.max_epochs=1"]
SHORT = ["--trainer.limit_train_batches=3", "--evaluation.protocols=[knn]"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def kind(command: str) -> str:
    """The kind of a command, which decides how it is tested; empty if no test covers it."""
    patterns = {
        "script": r"^python benchmarks/",
        "make target": r"^make \w+$",
        "information": r"ssl-bench list|--help\b|\.help\b|ssl-bench bench .*--dry_run",
        "report": r"ssl-bench report|make report",
        "export": r"ssl-bench export",
        "table": r"ssl-bench table|make table",
        "sweep": r"ssl-bench sweep|make sweep",
        "views": r"ssl-bench views",
        "two processes": r"--devices 2\b|torchrun",
        "run folder": r"ssl-bench (evaluate|bench --config) runs/",
        "runs": r"^(?!.*runs/).*(ssl-bench|make bench).*(digits|photos|spiral)",
        "scores": r"ssl-bench evaluate ",
        "resolves": r"ssl-bench|ssl_bench\.cli|make bench",
    }
    return next((name for name, pattern in patterns.items() if re.search(pattern, command)), "")


def of_kind(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", [command for command in COMMANDS if kind(command) == name])


def as_ssl_bench(command: str) -> list[str]:
    """The arguments of ssl-bench in a command; those of make are taken from the recipe that it would run."""
    words = shlex.split(command)
    if words[0] == "make":
        recipe = subprocess.run(
            ["make", "--dry-run", "--always-make", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.replace("\\\n", "")
        (command,) = (line for line in recipe.splitlines() if "/ssl-bench " in line)
        words = shlex.split(command)
    start = next(i for i, word in enumerate(words) if word.endswith(("ssl-bench", "ssl_bench.cli")))
    return words[start + 1 :]


def as_cheap(command: str) -> list[str]:
    """The arguments of ssl-bench in a command, with one epoch of training."""
    arguments = as_ssl_bench(command)
    return [*arguments, *(["--epochs=1"] if arguments[0] in ("bench", "fit") else []), *CHEAP]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the files that the commands name: my_method.py and photos."""
    *_, method = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_method.py").write_text(method, encoding="utf-8")
    torch.manual_seed(0)
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_method", None)


@of_kind("runs")
def test_command_runs(command: str, workplace: Path) -> None:
    """Those of README.md and of `make` with all protocols, the others for three batches and with one protocol."""
    whole = command in commands(README) or command.startswith("make")
    few = ["--data.batch_size=16"] if "photos" in command else []
    few += ["--method.backbone.width=16"] if "multi_crop" in command else []
    assert main([*as_cheap(command), *([] if whole else SHORT), *few]) == 0


@of_kind("scores")
def test_command_scores_an_external_encoder(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Digits replace data that need a download; pretrained weights, which need one too, give a usage error."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *arguments, **settings: 1 / 0)
    digits = load_digits()
    np.savez(workplace / "features.npz", features=digits.data.astype(np.float32), labels=digits.target)
    code = "import torch\n\ndef make_encoder():\n    return torch.nn.Flatten()\n"
    (workplace / "my_module.py").write_text(code, encoding="utf-8")
    if "hub/" in command:
        assert main(["fit", "--method=vae", "--data=digits", "--epochs=0", "--out=fitted"]) == 0
        encoder = load_encoder(next((workplace / "fitted").iterdir()))
        (workplace / "encoder").mkdir()
        write_encoder(encoder, workplace / "encoder", "digits")
    arguments = [*as_ssl_bench(re.sub(r"--data [\w,]+", "--data digits", command)), "--evaluation.protocols=[knn]"]
    pretrained = re.search(r"(timm|torchvision)/\w+\.", command)
    assert main(arguments) == (2 if pretrained else 0)
    if pretrained:
        of_timm = "give the name without its tag for random weights"
        assert {"timm": of_timm, "torchvision": "division by zero"}[pretrained[1]] in capsys.readouterr().err
    sys.modules.pop("my_module", None)


@of_kind("resolves")
def test_command_resolves_to_a_configuration(command: str) -> None:
    options, rest = command_line().parse_known_args(as_ssl_bench(command))
    given = vars(options)
    named = ("seed", "trainer.max_epochs", "trainer.devices")
    flags = [f"--{name}={given[name]}" for name in named if given[name] is not None]
    resolve([*stack(options.method, options.data, options.experiment), *flags, *rest])


@of_kind("views")
def test_arguments_of_a_views_command_are_valid(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, name, *words = as_ssl_bench(command)
    namespace, _ = command_parser(name).parse_known_args(words)
    for value in vars(namespace).values():
        if isinstance(value, Path):
            value.mkdir(parents=True, exist_ok=True)  # the runs and folders that the command names
    read_arguments(name, words)


@of_kind("script")
def test_flags_of_a_script_are_in_its_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags with a dot, and the named ones, are passed on to `ssl-bench`."""
    _, script, *arguments = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as exit_code:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert exit_code.value.code == 0
    known = {word.strip("[],") for word in capsys.readouterr().out.split()} | {"--epochs"}
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    assert [flag for flag in flags if "." not in flag and flag not in known] == []


@of_kind("make target")
def test_make_target_exists(command: str) -> None:
    subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=ROOT, capture_output=True, check=True)


@of_kind("information")
def test_command_prints_names_or_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(as_ssl_bench(command))
    except SystemExit as exit_code:
        code = exit_code.code
    assert not code
    assert capsys.readouterr().out


def test_commands_about_a_run_work_on_one(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--method", "vae", "--data", "digits", "--epochs=1", *CHEAP]) == 0
    (run,) = Path("runs").iterdir()
    about_a_run = [c for c in COMMANDS if kind(c) == "run folder" or (kind(c) == "table" and "table runs" in c)]
    assert len(about_a_run) >= 4
    for command in about_a_run:
        assert main(as_ssl_bench(command.replace("runs/RUN", str(run)))) == 0
    assert "vae" in capsys.readouterr().out


def test_a_method_outside_the_package_is_shown_under_its_own_name(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = (c for c in COMMANDS if "my_method" in c)
    assert main(as_cheap(command)) == 0
    assert re.search(r"^ *Denoiser +1 +1 ", capsys.readouterr().out, re.MULTILINE)
    (record,) = workplace.glob("runs/Denoiser-digits-*/metrics.json")
    assert json.loads(record.read_text())["metrics"]["knn_5/accuracy"] > 50
    again = (
        ["evaluate", str(record.parent), "--trust", ".", "--evaluation.protocols=[knn]"],
        ["bench", "--config", str(record.parent / "config.yaml"), "--trust", ".", "--print_config"],
    )
    script = "import sys; from ssl_bench.cli import main; sys.exit(main())"  # as the installed command `ssl-bench`
    for arguments in again:  # in another process, which has not imported my_method
        words = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr


@of_kind("two processes")
def test_command_runs_on_two_processes(command: str, tmp_path: Path) -> None:
    """Training and scoring are shared by the processes, and one record is written."""
    launcher = [] if command.startswith("ssl-bench") else ["torch.distributed.run", "--nproc-per-node", "2", "-m"]
    arguments = [*as_cheap(command), f"--out={tmp_path}", "--evaluation.protocols=[knn]"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "ssl_bench.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=ENVIRONMENT, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("*/metrics.json")
    assert json.loads(record.read_text())["metrics"]["knn_5/accuracy"] > 50


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(example, scope)
    assert scope["encoder"](torch.rand(2, 1, 40, 60)).shape == (2, 10)
    assert load_encoder("vae-digits").feature_dim == 10


def test_every_command_is_covered_by_a_test() -> None:
    assert [command for command in COMMANDS if not kind(command)] == []
    known = {"runs", "benchmarks/results", "all", *config_names("table")}
    assert {as_ssl_bench(command)[1] for command in COMMANDS if kind(command) == "table"} <= known


@of_kind("table")
def test_command_prints_the_tables_of_papers(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, name, *_ = arguments = as_ssl_bench(command)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other_runs").mkdir()
    if name in {"all", *config_names("table")}:
        assert main(arguments) == 0


@of_kind("report")
def test_command_writes_a_page(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for folder in ("runs", "benchmarks/results"):
        write_runs(tmp_path / folder, synthetic(2))
    assert main(as_ssl_bench(command)) == 0
    (page,) = tmp_path.rglob("*.html") if "--wandb" not in command else [tmp_path / "runs" / "report.html"]
    assert "2 runs on 1 data" in page.read_text(encoding="utf-8")


@of_kind("export")
def test_command_exports_a_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--method=vae", "--data=digits", "--epochs=0", *SHORT[1:], "--trainer.accelerator=cpu"]) == 0
    next((tmp_path / "runs").iterdir()).rename(tmp_path / "runs" / "RUN")
    assert main(as_ssl_bench(command)) == 0
    assert list(tmp_path.rglob("model.safetensors"))


@of_kind("sweep")
def test_command_plans_its_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10-jpeg").mkdir()
    arguments = as_ssl_bench(command)
    assert main([*arguments, *([] if "--wandb_sweep" in arguments else ["--dry_run"])]) == 0


def test_the_recorded_results_are_read_by_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    for command in (c for c in COMMANDS if "table benchmarks/results" in c):
        assert main(as_ssl_bench(command)) == 0
        assert "fashion_mnist" in capsys.readouterr().out


def test_every_record_is_listed_and_has_the_name_of_its_hash() -> None:
    for file in (ROOT / "benchmarks" / "results").glob("*/metrics.json"):
        record = Record.read(file.parent)
        assert file.parent.name == f"{record.method}-{record.data}-s{record.seed}-{record.config_hash}"
        assert f"`{file.parent.name}`" in PAGES["benchmarks/results/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left_in_a_page(page: str) -> None:
    assert "@@" not in PAGES[page]


def headings(text: str) -> list[str]:
    """Anchors of the headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found]


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in [*PATHS, *RESULTS]])
def test_links_and_images_of_a_page_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target.read_text(encoding="utf-8")), link


def test_the_readme_is_a_landing_page() -> None:
    assert len(README.splitlines()) <= 150
    for folder in ("methods", "data", "evaluation", "generation"):
        assert f"ssl_bench/{folder}/README.md" in README
    assert "configs/README.md" in README
    assert "benchmarks/README.md" in README


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if len(text.splitlines()) > 100])
def test_a_long_page_has_a_table_of_contents(page: str) -> None:
    if page == "README.md":
        return
    text = PAGES[page]
    sections = re.findall(r"^## (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    anchors = headings("\n".join(f"## {section}" for section in sections if section != "Contents"))
    assert anchors
    assert [anchor for anchor in anchors if f"(#{anchor})" not in text] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("README.md", config_names("method")),
        ("ssl_bench/methods/README.md", config_names("method")),
        ("ssl_bench/data/README.md", config_names("data")),
        ("ssl_bench/evaluation/README.md", config_names("encoder")),
        ("ssl_bench/evaluation/README.md", PROTOCOLS),
    ],
)
def test_a_page_names_everything_that_it_documents(page: str, names: Iterable[str]) -> None:
    assert [name for name in names if f"`{name}`" not in PAGES[page]] == []

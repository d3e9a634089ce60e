"""Run records and their files."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from ssl_bench.errors import UserError
from ssl_bench.files import replacing
from ssl_bench.results.record import SCHEMA, Record


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = Record(
        method="simvae", data="celeba", seed=0, epochs=2, config_hash="a0", setting_hash="a", commit=None,
        command="ssl-bench bench", device="cpu", metrics={"knn_5/accuracy": 90.0}, seconds={"fit": 1.5},
        parameters=1_000, images_seen=60_000,
        targets=["hair", "Bald"], skipped_targets=["Bald"], failed={"knn": "why"}, notes={"gmm": "note"},
    )  # fmt: skip
    written.write(tmp_path)
    assert Record.read(tmp_path) == written
    assert json.loads((tmp_path / "metrics.json").read_text())["schema"] == SCHEMA
    assert set(asdict(written)["versions"]) >= {"torch", "lightning"}


def test_a_record_contains_no_path_and_no_secret_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    text = f"--data.root={tmp_path}/photos --key 0123456789abcdef"
    record = Record("simvae", "photos", 0, 1, "a0", "a", None, text, "cpu", failed={"knn": text}, evaluations=[text])
    record.reference = {"source": text}
    record.write(tmp_path)
    content = (tmp_path / "metrics.json").read_text()
    assert content.count("--data.root=.../photos --key ***") == 4
    assert str(tmp_path.parent) not in content
    assert "0123456789abcdef" not in content


def test_a_record_of_an_earlier_version_is_read_without_what_it_does_not_say(tmp_path: Path) -> None:
    Record("simvae", "digits", 0, 1, "a0", "a", None, "", "cpu").write(tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    for name in ("processor", "parameters", "images_seen"):
        del content[name]
    (tmp_path / "metrics.json").write_text(json.dumps(content | {"schema": 1}))
    record = Record.read(tmp_path)
    assert (record.schema, record.processor, record.parameters) == (1, "", None)
    assert record.costs.keys() == {"peak_memory_mb"}


def test_a_metric_without_a_value_is_null_in_the_file(tmp_path: Path) -> None:
    metrics = {"rank/rankme": math.nan, "knn_5/accuracy": 90.0}
    Record("simvae", "digits", 0, 1, "a0", "a", None, "", "cpu", metrics=metrics).write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"]["rank/rankme"] is None
    read = Record.read(tmp_path).metrics
    assert math.isnan(read["rank/rankme"])
    assert read["knn_5/accuracy"] == 90.0


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as file:
        file.write_text(f"new {1 / 0}")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", ["", "{}", '{"method": "sim', "[1]"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json is not a readable record") as error:
        Record.read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("metrics", {"knn_1/accuracy": "high"}), ("metrics", ["high"]), ("metrics", None), ("seconds", {"fit": None}),
     ("seed", "0"), ("epochs", None), ("method", 3), ("config_hash", None)],
)  # fmt: skip
def test_a_record_with_a_value_of_another_type_is_named(tmp_path: Path, key: str, value: object) -> None:
    Record("simvae", "digits", 0, 1, "a0", "a", None, "ssl-bench bench", "cpu").write(tmp_path)
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UserError, match=r"metrics\.json is not a readable record"):
        Record.read(tmp_path)

"""Text that is shared contains no folder of this machine and no secret."""

import pytest

from ssl_bench.results.shareable import shareable

HOME = "/home/jane doe"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setenv("THEIR_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("db_password", "correct horse")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("ssl-bench bench --data.root=/mnt/lab/photos --seed=1", "ssl-bench bench --data.root=.../photos --seed=1"),
        ("ssl-bench bench --data.root /mnt/lab/photos/", "ssl-bench bench --data.root .../photos"),
        ("ssl-bench bench '--data.root=/mnt/my photos' --out a", "ssl-bench bench '--data.root=.../my photos' --out a"),
        ("--roots=[/mnt/a,/mnt/b]", "--roots=[.../a,.../b]"),
        (f"found no images in {HOME}/photos", "found no images in .../photos"),
        (f"cannot write to {HOME}: no space", "cannot write to ~: no space"),
        ("--data.root=~/photos ~jane/x", "--data.root=.../photos .../x"),
        ("[Errno 2] No such file: '/mnt/my photos/a.png'", "[Errno 2] No such file: '.../a.png'"),
        ("/mnt/a.png is not readable (/mnt/b.png)", ".../a.png is not readable (.../b.png)"),
        ("gloo:/mnt/a:/mnt/b file:///mnt/c", "gloo:.../b file://.../c"),
        ("--data.root=../photos ../../x", "--data.root=.../photos .../x"),
    ],
)
def test_a_path_outside_the_working_directory_is_shortened_to_its_last_component(text: str, shared: str) -> None:
    assert shareable(text) == shared
    assert shareable(shared) == shared


@pytest.mark.parametrize(
    "text",
    [
        "--data.root=photos/a --config runs/x/config.yaml ./y",
        "svm/accuracy '*/accuracy' 'svm/*' timm/resnet18 n/a a / b ...",
        "Table 3, https://arxiv.org/abs/1409.0575",
        "a run with false",
    ],
)
def test_other_text_is_kept(text: str) -> None:
    assert shareable(text) == text


def test_values_of_secret_environment_variables_are_hidden() -> None:
    assert shareable("--key=0123456789abcdef: correct horse") == "--key=***: ***"


def test_all_strings_of_a_json_value_are_shortened_but_no_keys() -> None:
    value = {"/a/b": ["/a/b", {"x": "/a/b", "n": 1, "none": None}]}
    assert shareable(value) == {"/a/b": [".../b", {"x": ".../b", "n": 1, "none": None}]}

"""Configuration files and flags with misspelled names, wrong types, values outside their range and broken syntax."""

import random
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.mutations import Case
from ssl_bench.config.resolve import resolve, to_dict
from ssl_bench.config.stack import stack

SMALL = ["--trainer.limit_train_batches=1"]
ON_CPU = "--trainer.accelerator=cpu"
METHODS = ("vae", "simclr", "hinge_gan")
JUNK: list[Any] = [
    "word",
    -1,
    2**40,
    1e308,
    float("nan"),
    [],
    [1, "a"],
    {"a": 1},
    None,
    "",
    "0x1",
    "\u00fc\u0000",
    True,
]
FLAGS = [
    ("--epochs", ["-3", "1.5", "many", ""]),
    ("--seed", ["-1", "1099511627776", "a", "0.5"]),
    ("--devices", ["0", "-1", "three", "1.5"]),
    ("--trainer.accelerator", ["gpu", "abacus"]),
    ("--trainer.gradient_clip_val", ["None", "-1", "a"]),
    ("--trainer.max_epoch", ["3"]),
    ("--trainer.precision", ["13", "half"]),
    ("--trainer.log_every_n_steps", ["-1", "a"]),
    ("--data.batch_size", ["0", "-5", "1e9", "a"]),
    ("--data.batchsize", ["32"]),
    ("--data", ["digit", "mnist2", "", "../digits", "os.path"]),
    ("--method", ["va", "VAE", "ssl_bench.methods.vae.VEA", "os.system", "torch.nn.Linear", "no.module.Class", ""]),
    ("--method.latent_dim", ["0", "-4", "a", "1.5", "[1]"]),
    ("--method.latentdim", ["4"]),
    ("--method.optimizer", ["sgd", "torch.optim.Sgd", "os.system", "3"]),
    ("--method.optimizer.lr", ["-1", "fast", "nan"]),
    ("--method.encoder", ["resnet", "ssl_bench.networks.mlp.MLPDecoder2", "4"]),
    ("--method.encoder.hidden", ["[0]", "-1", "a", "[a]"]),
    ("--views.recipe", ["simclr9", "", "3"]),
    ("--views.num_views", ["0", "-1", "a"]),
    ("--evaluation.protocols", ["[knnn]", "knn", "3", "[]"]),
    ("--evaluation.knn.k", ["[0]", "5", "[a]", "[]"]),
    ("--evaluation.knn.kk", ["[5]"]),
    ("--names.method", ["../../x", "a/b", "a b"]),
    ("--config", ["nowhere.yaml", "/dev/null", ""]),
    ("--experiment", ["simvae-cfar10", "assimilation_9/no_row", ""]),
    ("--out", ["/dev/null/x", "/proc/x"]),
    ("--no_such_flag", ["1"]),
]
"""Flags with values that are errors."""
ACCEPTED = {("--data.batch_size", "1e9"), ("--evaluation.protocols", "knn"), ("--evaluation.protocols", "[]"),
            ("--evaluation.knn.k", "5"), ("--evaluation.knn.k", "[]"), ("--devices", "-1")}  # fmt: skip
"""Flags that may be accepted."""


def misspell(word: str, rng: random.Random) -> str:
    """The word with two letters exchanged, one doubled or one removed."""
    at = rng.randrange(max(1, len(word) - 1))
    swapped = word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :]
    return rng.choice([swapped, word[: at + 1] + word[at:], word[:at] + word[at + 1 :]])


def parents(tree: Any, path: str = "") -> list[tuple[dict[str, Any], str, str]]:
    """All keys of nested dicts: the dict, the key and its path."""
    found = []
    for key, value in tree.items():
        found.append((tree, key, f"{path}{key}"))
        found += parents(value, f"{path}{key}.") if isinstance(value, dict) else []
    return found


def mutate_flag(rng: random.Random, folder: Path) -> Case:
    """One flag with a value that is an error, beside correct flags in random order."""
    flag, values = rng.choice(FLAGS)
    value = rng.choice(values)
    given = {"--method": "vae", "--data": "digits", "--epochs": "1"}
    flags = [f"{name}={word}" for name, word in given.items() if name != flag] + [f"{flag}={value}", *SMALL]
    if flag == "--trainer.accelerator":  # else the order decides which of two values is used
        found = torch.cuda.is_available() or torch.backends.mps.is_available()
        codes = (0, 2) if value == "gpu" and found else (2,)
    else:
        flags.append(ON_CPU)
        codes = (0, 2) if (flag, value) in ACCEPTED else (2,)
    rng.shuffle(flags)
    return Case(f"{flag}={value}", [rng.choice(["fit", "bench"]), *flags], codes=codes)


def mutate_file(rng: random.Random, folder: Path) -> Case:
    """A complete configuration file with one mistake."""
    config = to_dict(resolve([*stack(rng.choice(METHODS), "digits", None), "--trainer.max_epochs=1", *SMALL, ON_CPU]))
    parent, key, path = rng.choice(parents(config))
    mistake = rng.choice(["misspelled key", "misspelled key", "other value", "other value", "other value", "removed",
                          "misspelled class", "truncated", "bytes", "repeated key", "recursive", "list", "empty",
                          "tab", "tag"])  # fmt: skip
    codes: tuple[int, ...] = (2,)
    description = mistake
    match mistake:
        case "misspelled key":
            wrong = misspell(key, rng)
            description = f"{path} as {wrong}"
            codes = (2,) if wrong not in parent else (0, 2)
            parent[wrong] = parent.pop(key)
        case "other value":
            parent[key] = rng.choice(JUNK)
            description, codes = f"{path}: {parent[key]!r}", (0, 2)
        case "removed":
            del parent[key]
            description, codes = f"no {path}", (0, 2)
        case "misspelled class":
            parent, key, path = rng.choice([found for found in parents(config) if found[1] == "class_path"])
            module, _, name = parent[key].rpartition(".")
            while (wrong := misspell(name, rng)) == name:
                pass
            parent[key] = f"{module}.{wrong}"
            description = f"{path}: {parent[key]}"
    text = yaml.safe_dump(config, sort_keys=False)
    data = text.encode()
    match mistake:
        case "truncated":
            data, codes = data[: rng.randrange(len(data))], (0, 2)
        case "bytes":
            data = data[:100] + b"\xff\xfe\x00" + data[100:]
        case "repeated key":
            data += b"seed: 1\n"
        case "recursive":
            data += b"names: &a {method: *a}\n"
        case "list":
            data = yaml.safe_dump([config]).encode()
        case "empty":
            data = rng.choice([b"", b"# nothing\n", b"---\n"])
        case "tab":
            data = data.replace(b"  ", b"\t", 1)
        case "tag":
            data += b"other: !!python/object/apply:os.system ['true']\n"
    file = folder / "config.yaml"
    file.write_bytes(data)
    return Case(description, ["fit", f"--config={file}"], codes=codes)

"""Tiny data sets in the real formats. The grey value of every image encodes its label, see ``grey``."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ssl_bench import data
from ssl_bench.data.module import DataModule
from ssl_bench.data.shards import Shards

Build = Callable[[Path], dict[str, Any]]  # writes the files under a root, returns the module's arguments


def grey(label: int) -> int:
    return 20 * (label + 1)


def encoded(label: int, size: tuple[int, int], kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (grey(label),) * 3).save(file, kind)
    return file.getvalue()


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_idx(path: Path, header: tuple[int, ...], values: bytes) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in header)
    write(path, gzip.compress(bytes([0, 0, 8, len(header)]) + sizes + values))


def idx(folder: str) -> Build:
    def build(root: Path) -> dict[str, Any]:
        for part, count in (("train", 40), ("t10k", 20)):
            labels = [i % 10 for i in range(count)]
            pixels = b"".join(bytes([grey(label)]) * 784 for label in labels)
            write_idx(root / folder / "raw" / f"{part}-images-idx3-ubyte.gz", (count, 28, 28), pixels)
            write_idx(root / folder / "raw" / f"{part}-labels-idx1-ubyte.gz", (count,), bytes(labels))
        return {"root": str(root)}

    return build


def pickled(content: object) -> bytes:
    # As numpy 1 wrote it when CIFAR was made.
    return pickle.dumps(content, protocol=2).replace(b"numpy._core", b"numpy.core")


def cifar(folder: str, files: tuple[str, ...], label_key: str, class_key: str, classes: int) -> Build:
    def build(root: Path) -> dict[str, Any]:
        for name in files[:-1]:
            labels = [i % 10 for i in range(20)]
            pixels = torch.stack([torch.full((3072,), grey(label), dtype=torch.uint8) for label in labels])
            write(root / folder / name, pickled({"data": pixels.numpy(), label_key: labels}))
        write(root / folder / files[-1], pickled({class_key: [f"class {i}" for i in range(classes)]}))
        return {"root": str(root)}

    return build


ATTRIBUTES = [f"Attribute_{i}" for i in range(40)]
for place, known in {8: "Black_Hair", 9: "Blond_Hair", 11: "Brown_Hair", 17: "Gray_Hair", 20: "Male"}.items():
    ATTRIBUTES[place] = known


def celeba(root: Path) -> dict[str, Any]:
    names = [f"{i:06}.jpg" for i in range(1, 31)]
    rows = []
    for i, name in enumerate(names):
        values = [-1] * 40
        if i % 5 < 4:  # hair colours in turn, every fifth face has none
            values[(8, 9, 11, 17)[i % 5]] = 1
        values[20] = 1 if i % 2 else -1
        rows.append(f"{name} {' '.join(f'{value:2}' for value in values)}")
    write(root / "celeba" / "list_attr_celeba.txt", "\n".join(["30", " ".join(ATTRIBUTES) + " ", *rows, ""]))
    parts = [f"{name} {0 if i < 20 else 1 if i < 25 else 2}" for i, name in enumerate(names)]
    write(root / "celeba" / "list_eval_partition.txt", "\n".join([*parts, ""]))
    with zipfile.ZipFile(root / "celeba" / "img_align_celeba.zip", "w") as archive:
        archive.mkdir("img_align_celeba")
        for i, name in enumerate(names):
            archive.writestr(f"img_align_celeba/{name}", encoded(i % 5, (178, 218)))
    return {"root": str(root), "target": "hair"}


WNIDS = ["n01443537", "n01629819", "n02056570"]


def tiny_imagenet(root: Path) -> dict[str, Any]:
    top = root / "tiny-imagenet-200"
    write(top / "wnids.txt", "\n".join(reversed(WNIDS)) + "\n")
    write(top / "words.txt", "".join(f"{wnid}\tname of {wnid}\n" for wnid in WNIDS))
    for label, wnid in enumerate(WNIDS):
        write(top / "train" / wnid / f"{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
        for i in range(10):
            write(top / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", encoded(label, (64, 64)))
    for i in range(6):
        write(top / "val" / "images" / f"val_{i}.JPEG", encoded(i % 3, (64, 64)))
        write(top / "test" / "images" / f"test_{i}.JPEG", encoded(0, (64, 64)))
    lines = (f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t0\t63\t63\n" for i in range(6))
    write(top / "val" / "val_annotations.txt", "".join(lines))
    return {"root": str(root)}


def imagenet(**arguments: Any) -> Build:
    def build(root: Path) -> dict[str, Any]:
        for label, wnid in enumerate(WNIDS):
            for i in range(10):
                name = f"{wnid}_{i}.JPEG"
                write(root / "imagenet" / "train" / wnid / name, encoded(label, (40 + i, 50)))
            write(root / "imagenet" / "val" / wnid / f"ILSVRC2012_val_{label:08}.JPEG", encoded(label, (60, 40)))
        return {"root": str(root), "size": 32, "short_side": 36} | arguments

    return build


def image_folder(root: Path) -> dict[str, Any]:
    for label, name in enumerate(("cat", "dog", "owl")):
        for i in range(10):
            write(root / name / f"{i}.png", encoded(label, (20 + i, 24), "PNG"))
    write(root / "cat" / ".DS_Store", b"hidden files are no images")
    return {"root": str(root), "size": 16}


def parquet(root: Path) -> dict[str, Any]:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog", "owl"]}}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for split, count in (("train", 30), ("test", 6)):
        rows = [{"bytes": encoded(i % 3, (32, 32), "PNG"), "path": f"{i}.png"} for i in range(count)]
        table = pa.table({"image": pa.array(rows, kind), "label": [i % 3 for i in range(count)]})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (root / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet", row_group_size=7)
    return {"root": str(root)}


def generated(root: Path) -> dict[str, Any]:
    real = data.CIFAR10(**SAMPLES["cifar10"][1](root))
    shards = Shards.create(root / "sampled", {"kind": "sample"}, 100, shard_rows=30)
    for shard in range(4):
        rows = shards.rows(shard)
        shards.write(shard, {"images": rows.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)})
    return {"root": str(root / "sampled"), "real": real}


def nothing(_: Path) -> dict[str, Any]:
    return {}


CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
SAMPLES: dict[str, tuple[type[DataModule], Build]] = {
    "digits": (data.Digits, nothing),
    "double_spiral": (data.DoubleSpiral, nothing),
    "mnist": (data.MNIST, idx("MNIST")),
    "fashion_mnist": (data.FashionMNIST, idx("FashionMNIST")),
    "cifar10": (data.CIFAR10, cifar("cifar-10-batches-py", CIFAR10_FILES, "labels", "label_names", 10)),
    "cifar100": (
        data.CIFAR100,
        cifar("cifar-100-python", ("train", "test", "meta"), "fine_labels", "fine_label_names", 100),
    ),
    "celeba": (data.CelebA, celeba),
    "tiny_imagenet": (data.TinyImageNet, tiny_imagenet),
    "imagenet10": (data.ImageNet10, imagenet(classes=WNIDS[1:])),
    "imagenet100": (data.ImageNet100, imagenet(classes=WNIDS[::-1])),
    "imagenet": (data.ImageNet, imagenet()),
    "image_folder": (data.ImageFolder, image_folder),
    "parquet": (data.Parquet, parquet),
    "generated": (data.Generated, generated),
}

"""Lists of images in class folders: splits, classes, images without a label, and other files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import torch
from PIL import Image, ImageFile
from torch import Tensor

from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.types import Split
from ssl_bench.errors import UserError

SPLITS: dict[str, Split] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of split folders in lower case."""
SPLIT_WORDS: dict[str, Split] = SPLITS | {
    "trn": "train", "trainset": "train",
    "valset": "validation", "eval": "validation", "evaluation": "validation",
    "tst": "test", "testset": "test", "holdout": "test",
}  # fmt: skip
"""Words in names of folders that are probably splits, but are not read as splits."""
UNLABELLED = {"unlabelled", "unlabeled"}
"""Names, in lower case, of folders of images without a label."""
EXPECTED = "expected one folder of images for each class, also below folders such as train, validation and test"


@dataclass(frozen=True)
class Listing:
    """Files in class folders.

    Attributes:
        names: paths of the files.
        labels: int64 ``(N,)``; -1 for no label.
        classes: class names in the order of their labels.
        rows: rows of each split, int64.
        skipped: number of files that are not images.
    """

    names: list[str]
    labels: Tensor
    classes: tuple[str, ...]
    rows: dict[Split, Tensor]
    skipped: int

    def kept(self, split: Split, kept: Tensor) -> Tensor | None:
        """Rows of a split where ``kept``, bool ``(N,)``, is true; None if there is no such split."""
        rows = self.rows.get(split)
        return rows if rows is None else rows[kept[rows]]


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of arrays and of the formats that Pillow decodes; it writes or only identifies some other formats."""
    formats = Image.registered_extensions()
    stubs = {name for name, (kind, _) in Image.OPEN.items() if kind in ImageFile.StubImageFile.__subclasses__()}
    readable = {"MPO", *Image.OPEN} - stubs - {"MPEG"}  # the JPEG reader opens MPO; the MPEG reader has no decoder
    return frozenset({".npy"} | {suffix for suffix, name in formats.items() if name in readable})


def is_image(name: str) -> bool:
    """Whether a file may be an image: its suffix is one of `image_suffixes`, or it has none and is in a folder."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in image_suffixes() or (not suffix and "/" in name)


def single_folder(files: Iterable[str]) -> str:
    """Path, ending with "/", of the single folder that contains the class or split folders; empty for the root.

    Archives often contain such a folder. It is no split and contains no images itself; a file without a suffix, such
    as LICENSE, is no image there.
    """
    prefix, below = "", [name.split("/") for name in files if is_image(name)]
    while any(len(path) > 2 for path in below):
        tops = {path[0] for path in below}
        top = min(tops)
        has_images = any(len(path) < 3 and PurePosixPath(path[-1]).suffix for path in below)
        if len(tops) > 1 or has_images or top.lower() in SPLITS or top.lower() in UNLABELLED:
            break
        prefix += f"{top}/"
        below = [path[1:] for path in below if len(path) > 2]
    return prefix


def check_names(place: Path, names: Iterable[str]) -> None:
    """Refuse folders whose names say that they are splits or images without a label, but which are not read as such.

    Two names that differ only in a word for the split and in digits, such as train2017 and val2017, are those of
    splits.

    Raises:
        UserError: there are such names.
    """
    splits: dict[tuple[str, ...], dict[Split, str]] = {}
    for name in sorted(names):
        words = re.findall("[a-z]+", name.lower())
        if re.match("unlabel|nolabel", "".join(words)) and name.lower() not in UNLABELLED:
            raise UserError(
                f"{place}: the name of the folder {name} says that its images have no label; rename it unlabelled, or "
                "rename it otherwise if it is a class"
            )
        for at, word in enumerate(words):
            if word in SPLIT_WORDS:
                splits.setdefault((*words[:at], *words[at + 1 :]), {})[SPLIT_WORDS[word]] = name
    for found in splits.values():
        if len(found) > 1:
            raise UserError(
                f"{place}: the names of the folders {' and '.join(found.values())} are those of splits, but the "
                f"folders are not read as splits; move them above the class folders as {' and '.join(found)}, or "
                "rename them otherwise if they are classes"
            )


def split_folders(place: Path, tops: set[str], empty: Iterable[str]) -> dict[str, Split]:
    """The folders among the top folders that are splits; images in an unlabelled folder beside them are for training.

    Args:
        place: folder of the top folders, for messages.
        tops: names of the top folders that contain images.
        empty: names of the top folders without files.

    Raises:
        UserError: only some of the top folders are splits, two are for the same split, or one has no images.
    """
    splits = {name: SPLITS[name.lower()] for name in sorted(tops) if name.lower() in SPLITS}
    if not splits:
        return {}
    if others := sorted(name for name in tops if name not in splits and name.lower() not in UNLABELLED):
        raise UserError(
            f"{place} has folders of splits ({', '.join(splits)}) and others ({', '.join(others[:3])}); move the "
            "others into the splits, or rename the folders if they are all classes"
        )
    for name, split in splits.items():
        if same := [other for other in splits if splits[other] == split and other != name]:
            raise UserError(f"{place}: {name} and {same[0]} are both folders of the {split} split; merge them")
    if without := [name for name in empty if name.lower() in SPLITS]:
        raise UserError(f"{place / without[0]} is the folder of a split, but it is empty; add images or remove it")
    return splits | {name: "train" for name in tops if name.lower() in UNLABELLED}


def list_classes(
    tree: FileTree, folders: Mapping[str, Split] | None = None, classes: Sequence[str] | None = None
) -> Listing:
    """List files ``[split folder/]class folder/.../file``; without split folders, all files are the training split.

    Hidden files are ignored; other files that are not images are counted. By default a single folder around these
    folders is entered, see `single_folder`.

    Args:
        tree: the files.
        folders: names of split folders, and the split of each; other folders beside them are ignored. By default the
            names are `SPLITS`, and other folders beside them are an error.
        classes: classes to use, in the order of their labels, beside which other folders are ignored; default all
            folders, sorted by name.

    Raises:
        UserError: there are no images, no class folders, images outside of a class folder, folders of splits beside
            others, empty or under other names, class folders without images, or not all of ``classes``.
    """
    files = tree.names()
    prefix = single_folder(files) if folders is None and classes is None else ""
    place, count = tree.path / prefix, len(files)
    files = [name[len(prefix) :] for name in files if name.startswith(prefix)]
    paths = [name.split("/") for name in files if is_image(name)]
    skipped = count - len(paths)
    if not paths:
        raise UserError(f"{tree.path} contains no images; {EXPECTED}")
    tops = {path[0] for path in paths if len(path) > 1}
    if folders is None:
        used = {name.split("/")[0] for name in files}
        splits = split_folders(place, tops, [name for name in tree.top_folders(prefix) if name not in used])
    else:
        splits = {name: folders[name] for name in tops & set(folders)}
        paths = [path for path in paths if path[0] in splits] if splits else paths

    def depth(path: list[str]) -> int:
        """Place of the class in a path."""
        return int(path[0] in splits and path[0].lower() not in UNLABELLED)

    loose = next((path for path in paths if len(path) < depth(path) + 2), None)
    paths = [path for path in paths if len(path) >= depth(path) + 2]
    found = {path[depth(path)] for path in paths}
    if classes is None:
        if loose and not found:
            raise UserError(
                f"{tree.path} contains files but no class folders: move the images of each class into a folder of its "
                "own, and images without a label into the folder unlabelled beside them, for pretraining only"
            )
        if loose:
            raise UserError(f"{place / '/'.join(loose)} is not in a class folder; move it into one")
        classes = sorted(name for name in found if name.lower() not in UNLABELLED)
        for path in (name.split("/") for name in files if not is_image(name)):
            is_used = not splits or path[0] in splits or (folders is None and path[0].lower() in SPLITS)
            if is_used and len(path) >= depth(path) + 2 and path[depth(path)] not in found:
                raise UserError(
                    f"{place / '/'.join(path[: depth(path) + 1])} contains files but no images, such as {path[-1]}; "
                    "convert them to a format that Pillow reads, or move the folder away"
                )
        check_names(place, found)
        inside: dict[str, set[str]] = {}
        for path in paths:
            if len(path) > depth(path) + 2:
                inside.setdefault("/".join(path[: depth(path) + 1]), set()).add(path[depth(path) + 1])
        for folder, names in inside.items():
            check_names(place / folder, names)
    if not classes:
        raise UserError(f"{tree.path} has no classes; {EXPECTED}")
    if absent := [name for name in classes if name not in found]:
        raise UserError(f"{tree.path} lacks {len(absent)} of {len(classes)} class folders, the first: {absent[0]}")
    label = {name: index for index, name in enumerate(classes)}
    label |= {name: -1 for name in found if name.lower() in UNLABELLED and name not in label}
    paths = [path for path in paths if path[depth(path)] in label]
    split: list[Split] = [splits[path[0]] if splits else "train" for path in paths]
    return Listing(
        names=[prefix + "/".join(path) for path in paths],
        labels=torch.tensor([label[path[depth(path)]] for path in paths], dtype=torch.int64),
        classes=tuple(classes),
        rows={
            part: torch.tensor([row for row, of in enumerate(split) if of == part], dtype=torch.int64)
            for part in dict.fromkeys(split)
        },
        skipped=skipped,
    )

"""Lists of images in class folders: splits, classes, images without a label, and other files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from PIL import Image
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


def is_image(name: str) -> bool:
    """Whether a file may be an image: it has no suffix, or one of an array or of a format that Pillow knows."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in ("", ".npy") or suffix in Image.registered_extensions()


def split_folders(tree: FileTree, tops: set[str]) -> dict[str, Split]:
    """The folders among the top folders that are splits; images in an unlabelled folder beside them are for training.

    Raises:
        UserError: only some of the top folders are splits, or two are for the same split.
    """
    splits = {name: SPLITS[name.lower()] for name in sorted(tops) if name.lower() in SPLITS}
    if not splits:
        return {}
    if others := sorted(name for name in tops if name not in splits and name.lower() not in UNLABELLED):
        raise UserError(
            f"{tree.path} has folders of splits ({', '.join(splits)}) and others ({', '.join(others[:3])}); move the "
            "others into the splits, or rename the folders if they are all classes"
        )
    for name, split in splits.items():
        if same := [other for other in splits if splits[other] == split and other != name]:
            raise UserError(f"{tree.path}: {name} and {same[0]} are both folders of the {split} split; merge them")
    return splits | {name: "train" for name in tops if name.lower() in UNLABELLED}


def list_classes(
    tree: FileTree, folders: Mapping[str, Split] | None = None, classes: Sequence[str] | None = None
) -> Listing:
    """List files ``[split folder/]class folder/.../file``; without split folders, all files are the training split.

    Hidden files are ignored; other files that are not images are counted.

    Args:
        tree: the files.
        folders: names of split folders, and the split of each; other folders beside them are ignored. By default the
            names are `SPLITS`, and other folders beside them are an error.
        classes: classes to use, in the order of their labels, beside which other folders are ignored; default all
            folders, sorted by name.

    Raises:
        UserError: there are no images, no class folders, images outside of a class folder, folders of splits beside
            others, class folders without images, or not all of ``classes``.
    """
    files = tree.names()
    paths = [name.split("/") for name in files if is_image(name)]
    skipped = len(files) - len(paths)
    if not paths:
        raise UserError(f"{tree.path} contains no images; {EXPECTED}")
    tops = {path[0] for path in paths if len(path) > 1}
    if folders is None:
        splits = split_folders(tree, tops)
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
            raise UserError(f"{tree.path / '/'.join(loose)} is not in a class folder; move it into one")
        classes = sorted(name for name in found if name.lower() not in UNLABELLED)
        for path in (name.split("/") for name in files if not is_image(name)):
            used = not splits or path[0] in splits or (folders is None and path[0].lower() in SPLITS)
            if used and len(path) >= depth(path) + 2 and path[depth(path)] not in found:
                folder = tree.path / "/".join(path[: depth(path) + 1])
                raise UserError(
                    f"{folder} contains files but no images, such as {path[-1]}; convert them to a format that Pillow "
                    "reads, or move the folder away"
                )
    if not classes:
        raise UserError(f"{tree.path} has no classes; {EXPECTED}")
    if absent := [name for name in classes if name not in found]:
        raise UserError(f"{tree.path} lacks {len(absent)} of {len(classes)} class folders, the first: {absent[0]}")
    label = {name: index for index, name in enumerate(classes)}
    label |= {name: -1 for name in found if name.lower() in UNLABELLED and name not in label}
    paths = [path for path in paths if path[depth(path)] in label]
    split: list[Split] = [splits[path[0]] if splits else "train" for path in paths]
    return Listing(
        names=["/".join(path) for path in paths],
        labels=torch.tensor([label[path[depth(path)]] for path in paths], dtype=torch.int64),
        classes=tuple(classes),
        rows={
            part: torch.tensor([row for row, of in enumerate(split) if of == part], dtype=torch.int64)
            for part in dict.fromkeys(split)
        },
        skipped=skipped,
    )

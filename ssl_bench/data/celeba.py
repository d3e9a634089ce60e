"""CelebA: faces with 40 attributes."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.locate import find_or_download
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError
from ssl_bench.ranges import PositiveInt, check_ranges

IMAGES = "img_align_celeba"
NAMES = [(f"{IMAGES}.zip", IMAGES), ("list_attr_celeba.txt",), ("list_eval_partition.txt",)]
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
HAIR_TARGET = Target("hair", ("black", "blond", "brown", "gray", "none"))


def hair_colour(attributes: Tensor) -> Tensor:
    """Hair colour as one label: index of the attribute that is 1; 4 if no attribute is 1, -1 if several are.

    The released code of SimVAE (Bizeul et al. 2024) keeps the images with exactly one of these five labels.

    Args:
        attributes: int64 ``(N, 4)``, 0 or 1, in the order of ``HAIR``.

    Returns:
        int64 ``(N,)``.
    """
    count = attributes.sum(dim=1)
    return torch.where(count == 0, 4, torch.where(count == 1, attributes.argmax(dim=1), -1))


@check_ranges
class CelebA(DataModule):
    """202,599 faces with 40 attributes (Liu et al. 2015), in the official three splits.

    The central 178x178 pixels of each aligned image are resized to ``size``. Attribute ``Male`` is the target
    ``gender``. Hair colour is a target of five classes, derived from four attributes; images with several hair colours
    have the label -1 (no label) for this target, in all splits.

    Args:
        size: height and width of the resized images.
        target: name of one target for labels ``(N,)``; or ``all`` for labels ``(N, 41)``, the 40 attributes in the
            order of the attribute file, then ``hair``.
        **kwargs: see `DataModule`.
    """

    name = "celeba"
    mean = (0.506, 0.426, 0.383)
    std = (0.311, 0.290, 0.290)
    licence = "non-commercial research, no redistribution"

    def __init__(self, size: PositiveInt = 64, target: str = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decoder = Decoder(3, size)
        self.image_shape = (3, size, size)
        self.target = target

    def read(self) -> DatasetContents:
        """Read ``<root>/celeba``; images are decoded into a cache, from the zip archive or the unpacked folder."""
        folder = self.root / "celeba"
        pictures, attribute_file, partition_file = find_or_download(
            self.name, [folder], NAMES, self.root, self._download
        )
        names, files, attributes = _read_attributes(attribute_file)
        partition = _read_partition(partition_file, files)
        targets, labels = _select_target(self.target, names, attributes)
        tree = FileTree(pictures, archive_folder=IMAGES)
        images, kept = decode_files_cached(self.name, tree, files, self.decoder, self.on_error)
        train, validation, test = (torch.nonzero(kept & (partition == part)).squeeze(1) for part in range(3))
        return DatasetContents(images, labels, targets, train, test, validation)

    def _download(self, root: Path) -> None:
        from torchvision import datasets

        datasets.CelebA(str(root), download=True)


def _select_target(target: str, names: list[str], attributes: Tensor) -> tuple[tuple[Target, ...], Tensor]:
    hair = hair_colour(attributes[:, [names.index(name) for name in HAIR]])
    binary = [Target("gender", ("female", "male")) if name == "Male" else Target(name, ("no", "yes")) for name in names]
    targets, labels = (*binary, HAIR_TARGET), torch.cat([attributes, hair.unsqueeze(1)], dim=1)
    if target == "all":
        return targets, labels
    known = [one.name for one in targets]
    if target not in known:
        near = ", ".join(get_close_matches(target, known, cutoff=0.4)) or "all, gender, hair"
        raise UserError(f"celeba has no target {target!r}; nearest: {near}; set --data.target")
    index = known.index(target)
    return (targets[index],), labels[:, index]


def _read_attributes(path: Path) -> tuple[list[str], list[str], Tensor]:
    try:
        lines = path.read_text().splitlines()
        count, names = int(lines[0]), lines[1].split()
        rows = [line.split() for line in lines[2:]]
        values = torch.tensor([list(map(int, row[1:])) for row in rows], dtype=torch.int64)
    except (IndexError, ValueError) as error:
        raise UserError(f"{path} is not a CelebA attribute file ({error}); download it again") from error
    if values.shape != (count, len(names)):
        raise UserError(f"{path} states {count} images of {len(names)} attributes, it contains {tuple(values.shape)}")
    if not (values.abs() == 1).all():
        raise UserError(f"{path} contains values other than -1 and 1; download it again")
    if absent := set(HAIR) - set(names):
        raise UserError(f"{path} lacks the attributes {', '.join(sorted(absent))}; download it again")
    return names, [row[0] for row in rows], (values + 1) // 2


def _read_partition(path: Path, files: list[str]) -> Tensor:
    try:
        rows = dict(line.split() for line in path.read_text().splitlines())
    except ValueError as error:
        raise UserError(f"{path} is not a CelebA partition file ({error}); download it again") from error
    if rows.keys() != set(files):
        raise UserError(
            f"{path} ({len(rows)} images) and the attribute file ({len(files)}) list different images; "
            "download both again"
        )
    if unknown := set(rows.values()) - {"0", "1", "2"}:
        raise UserError(f"{path} contains part {min(unknown)}, expected 0, 1 or 2; download it again")
    return torch.tensor([int(rows[file]) for file in files])

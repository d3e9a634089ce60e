"""Tiny ImageNet, read from its zip archive or from the unpacked folder."""

from pathlib import Path

import torch

from ssl_bench.data.cache import decode_files_cached
from ssl_bench.data.contents import DatasetContents
from ssl_bench.data.decode import Decoder
from ssl_bench.data.download import download
from ssl_bench.data.file_tree import FileTree
from ssl_bench.data.locate import find_or_download
from ssl_bench.data.module import DataModule
from ssl_bench.data.types import Target
from ssl_bench.errors import UserError

FOLDER = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
ANNOTATIONS = "val/val_annotations.txt"


class TinyImageNet(DataModule):
    """110,000 photographs of 64x64 pixels in 200 classes (Le & Yang 2015, Stanford CS231n).

    Train and validation are the 100,000 official training images. Test is the official validation split, since the
    labels of the official test images are not public.
    """

    name = "tiny_imagenet"
    image_shape = (3, 64, 64)
    mean = (0.480, 0.448, 0.398)
    std = (0.277, 0.269, 0.282)
    licence = "ImageNet's: non-commercial research and education"

    def read(self) -> DatasetContents:
        """Read or download ``<root>/tiny-imagenet-200[.zip]``, and decode the images into a cache."""
        names = [(FOLDER, f"{FOLDER}.zip")]
        (path,) = find_or_download(self.name, [self.root], names, self.root, self._download)
        tree = FileTree(path, archive_folder=FOLDER)
        files = tree.names()
        train = [name for name in files if name.startswith("train/") and name.endswith(".JPEG")]
        try:
            words = dict(line.split("\t", 1) for line in tree.read("words.txt").decode().splitlines())
            wnids = sorted(tree.read("wnids.txt").decode().split())
            test = dict(line.split("\t")[:2] for line in tree.read(ANNOTATIONS).decode().splitlines())
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} has no label file or a damaged one ({error}); download it again") from error
        label = {wnid: index for index, wnid in enumerate(wnids)}
        test_files = sorted(name for name in files if name.startswith("val/images/"))
        if {Path(name).name for name in test_files} != set(test):
            raise UserError(f"{path}: {ANNOTATIONS} has {len(test)} images, val/images {len(test_files)}")
        wnid_of = [name.split("/")[1] for name in train] + [test[Path(name).name] for name in test_files]
        if unknown := next((wnid for wnid in wnid_of if wnid not in label), None):
            raise UserError(f"{path}: an image is labelled {unknown}, which is not in wnids.txt")
        decoder = Decoder(3, self.image_shape[-1])
        images, kept = decode_files_cached(self.name, tree, train + test_files, decoder, self.on_error)
        rows = torch.arange(len(wnid_of))
        return DatasetContents(
            images=images,
            labels=torch.tensor([label[wnid] for wnid in wnid_of], dtype=torch.int64),
            targets=(Target("object", tuple(words.get(wnid, wnid) for wnid in wnids)),),
            train=rows[: len(train)][kept[: len(train)]],
            test=rows[len(train) :][kept[len(train) :]],
        )

    def _download(self, _: Path) -> None:
        # Into the final folder, so that an interrupted download can be resumed.
        download(URL, self.root / f"{FOLDER}.zip", MD5)

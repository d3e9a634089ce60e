"""Fingerprint of the data of a run: it distinguishes data sets without a copy of them."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl_bench.errors import UserError
from ssl_bench.files import replacing

FILE = "data.json"
TOLERANCE = 1.0
"""Largest difference of the mean brightness of a quarter of an image of integers from 0 to 255. JPEG decoders differ by
less. For images of floats, which may have any range, it is 1/255 of the range of the brightness of all images."""


@dataclass(frozen=True)
class Fingerprint:
    """Numbers of images and labels, exactly, and the brightness of some images, approximately.

    Attributes:
        images: number of images of each split.
        shape: shape of an image.
        targets: hash of the names of targets and classes.
        labels: hash of the labels of all splits.
        brightness: mean value of each channel and quarter of some images, separated by spaces: with one decimal if the
            values are integers, and in scientific notation with five decimals if they are floats.
    """

    images: dict[str, int]
    shape: tuple[int, ...]
    targets: str
    labels: str
    brightness: str

    @classmethod
    def of(cls, known: dict[str, Any]) -> "Fingerprint":
        """The fingerprint in a JSON file.

        Raises:
            KeyError: a field is missing.
        """
        return cls(**{name: known[name] for name in cls.__dataclass_fields__} | {"shape": tuple(known["shape"])})

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits. Data may agree although the digests differ, because of the brightness."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def difference(self, other: "Fingerprint") -> str:
        """What differs from the data of `other`, in words; empty if the data agree."""
        for split, count in self.images.items():
            if other.images.get(split) != count:
                return f"number of images ({split}: {count}, expected {other.images.get(split)})"
        for field, what in (("shape", "shape of the images"), ("targets", "classes"), ("labels", "labels")):
            if getattr(self, field) != getattr(other, field):
                return what
        return "" if same_brightness(self.brightness, other.brightness) else "pixels"

    def write(self, folder: Path) -> None:
        """Write ``data.json`` atomically."""
        with replacing(folder / FILE) as file:
            file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Fingerprint | None":
        """The fingerprint of the data of a run folder; None if it has none.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return cls.of(json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / FILE} is damaged: delete it, and it is written again") from error


def same_brightness(first: str, second: str) -> bool:
    """Whether the brightness of images agrees within the tolerance; NaN agrees with NaN."""
    values = [[float(value) for value in text.split()] for text in (first, second)]
    tolerance = TOLERANCE
    if "e" in first + second:  # floats
        finite = [[value for value in several if math.isfinite(value)] or [0.0] for several in values]
        tolerance = min(max(several) - min(several) for several in finite) / 255
    return all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(*values, strict=False)
    )

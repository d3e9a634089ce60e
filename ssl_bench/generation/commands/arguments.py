"""Arguments of the `ssl-bench views` commands. Imports neither torch nor Lightning, so that the help is fast.

The first field of a command is its positional argument; all other fields, and those of its settings, are flags. The
help is made from the docstrings.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ssl_bench.errors import UserError
from ssl_bench.generation.settings import (
    InvertSettings,
    Job,
    MineSettings,
    PerturbSettings,
    RunData,
    SampleSettings,
    SearchSettings,
)
from ssl_bench.ranges import PositiveInt, check_ranges


@dataclass(frozen=True)
class InvertCommand:
    """Invert a generator: codes of the images of a data set, optimised from the codes of an encoder.

    Args:
        run: run folder of METHOD=inversion; the data of the run are inverted. For a run of stylegan2, optimisation
            starts from the mean code.
        settings: see `InvertSettings`.
        job: see `Job`.
        data: see `RunData`.
    """

    run: Path
    settings: InvertSettings = field(default_factory=InvertSettings)
    job: Job = field(default_factory=Job)
    data: RunData = field(default_factory=RunData)


@dataclass(frozen=True)
class SampleCommand:
    """Sample a number of images (--images) and their codes from a generator.

    Args:
        run: run folder of METHOD=stylegan2.
        settings: see `SampleSettings`.
        job: see `Job`; `Job.images` is required.
        data: see `RunData`.
    """

    run: Path
    settings: SampleSettings = field(default_factory=SampleSettings)
    job: Job = field(default_factory=Job)
    data: RunData = field(default_factory=RunData)

    def __post_init__(self) -> None:
        if self.job.images is None:
            raise UserError("sample: --images is missing: give the number of images to sample")


@dataclass(frozen=True)
class PerturbCommand:
    """W-perturb: views of images, made by adding noise to their codes.

    Args:
        codes: folder made by `views invert` or `views sample`.
        settings: see `PerturbSettings`.
        job: see `Job`.
    """

    codes: Path
    settings: PerturbSettings = field(default_factory=PerturbSettings)
    job: Job = field(default_factory=Job)


@dataclass(frozen=True)
class SearchCommand:
    """W-search: views at a given distance from their image in an encoder's projections, and apart from each other.

    Args:
        codes: folder made by `views invert` or `views sample`.
        encoder: run folder of a contrastive method; its projections are compared, and its recipe makes expert views.
        settings: see `SearchSettings`.
        job: see `Job`.
        compile: if true, compile generator, encoder and gradients by torch.compile; this takes minutes at the start.
        data: see `RunData`.
    """

    codes: Path
    encoder: Path
    settings: SearchSettings = field(default_factory=SearchSettings)
    job: Job = field(default_factory=Job)
    compile: bool = False
    data: RunData = field(default_factory=RunData)


@check_ranges
@dataclass(frozen=True)
class ShowCommand:
    """Plot views beside their images, and print the metrics of a folder.

    Args:
        folder: folder made by a `views` command, complete or not.
        out: image file to write; by default views.png in the folder.
        anchors: number of rows of the figure.
        data: see `RunData`.
    """

    folder: Path
    out: Path | None = None
    anchors: PositiveInt = 8
    data: RunData = field(default_factory=RunData)


@dataclass(frozen=True)
class InformationCommand:
    """Estimate the mutual information, in nats, of images, their expert views and their generated views (MINE).

    Args:
        folder: folder of views, or of codes, from which W-perturb makes the views.
        encoder: run folder of a contrastive method; its data and its recipe of expert views are used.
        settings: see `MineSettings`.
        data: see `RunData`.
    """

    folder: Path
    encoder: Path
    settings: MineSettings = field(default_factory=MineSettings)
    data: RunData = field(default_factory=RunData)


class Command(NamedTuple):
    """A `ssl-bench views` command.

    Attributes:
        arguments: dataclass of its arguments.
        function: import path of the function that runs the command, given the arguments and a device.
        distributed: if True, the command runs in one process per device; if False, in a single process.
    """

    arguments: type
    function: str
    distributed: bool = True


COMMANDS = {
    "invert": Command(InvertCommand, "ssl_bench.generation.commands.invert.invert_images"),
    "sample": Command(SampleCommand, "ssl_bench.generation.commands.sample.sample_images"),
    "perturb": Command(PerturbCommand, "ssl_bench.generation.commands.perturb.perturb_codes"),
    "search": Command(SearchCommand, "ssl_bench.generation.commands.search.search_views"),
    "show": Command(ShowCommand, "ssl_bench.generation.commands.show.show_folder", distributed=False),
    "information": Command(InformationCommand, "ssl_bench.generation.commands.information.measure_information"),
}

"""Checks of the trainer that need torch or the method."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ssl_bench.config.identity import names
from ssl_bench.config.resolve import to_dict
from ssl_bench.config.schema import Run
from ssl_bench.errors import UserError


def check_accelerator(accelerator: str) -> None:
    """Check that the machine has an accelerator.

    Raises:
        UserError: there is no GPU of the kind.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(accelerator, True):
        raise UserError(f"trainer.accelerator is {accelerator}, but torch finds no such GPU: give auto or cpu")


def check_manual_optimization(run: Run, config: Namespace) -> None:
    """Check that the trainer neither clips nor accumulates gradients of a method with manual optimization.

    Raises:
        UserError: it does.
    """
    if not run.method.automatic_optimization:
        for key, usual in {"gradient_clip_val": None, "accumulate_grad_batches": 1}.items():
            if config.trainer[key] not in (usual, 0):
                method = names(to_dict(config))[0]
                raise UserError(
                    f"--trainer.{key} {config.trainer[key]}: {method} has manual optimization, which does not "
                    "support it; leave it out (--method.accumulate N splits a batch into N parts)"
                )


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn errors of Lightning about settings of the trainer into usage errors.

    Raises:
        UserError: Lightning refuses a setting.
    """
    try:
        yield
    except UserError:
        raise
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"the settings of the trainer are not valid: {' '.join(str(error).split())}") from error

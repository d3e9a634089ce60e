"""Evaluate a method during training without changing the training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import LightningModule


@contextmanager
def evaluation_mode(method: LightningModule) -> Iterator[None]:
    """Put a method into evaluation mode without gradients; on exit restore modes, buffers and random number states."""
    training = [module for module in method.modules() if module.training]
    buffers = list(method.buffers())
    kept = [buffer.clone() for buffer in buffers]
    try:
        with torch.random.fork_rng([method.device] if method.device.type == "cuda" else []), torch.no_grad():
            method.eval()
            yield
    finally:
        for module in training:
            module.training = True
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)

"""Methods written by users: a module with one mistake each."""

import random
from pathlib import Path

from benchmarks.mutations import Case

MODULE = '''
import numpy as np
import torch
from torch import Tensor, nn

from ssl_bench.methods.base import Method
from ssl_bench.networks.mlp import MLPEncoder


class Own(Method):
    """Method of a user."""

    def __init__(self, image_shape: tuple[int, ...], width: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.feature_dim = width
        self.encoder = MLPEncoder(image_shape, width, hidden=(16,))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def training_step(self, batch, batch_idx: int) -> Tensor:
        loss = self.encoder(batch.images[0]).square().mean()
        self.log_metrics({"loss": loss})
        return loss
'''
ENCODE = "    def encode(self, x: Tensor) -> Tensor:\n        return self.encoder(x)\n"
RETURN = "return self.encoder(x)"
STEP = MODULE[MODULE.index("    def training_step") :]
MISTAKES: dict[str, tuple[str, str]] = {
    "no encode": (ENCODE, ""),
    "encode returns numpy": (RETURN, "return self.encoder(x).numpy(force=True)"),
    "encode returns a tuple": (RETURN, "return self.encoder(x), x"),
    "encode returns three axes": (RETURN, "return self.encoder(x)[:, None]"),
    "encode returns half of the images": (RETURN, "return self.encoder(x)[::2]"),
    "encode fails": (RETURN, "return self.encodr(x)"),
    "no feature_dim": ("        self.feature_dim = width\n", ""),
    "feature_dim of another size": ("self.feature_dim = width", "self.feature_dim = width + 1"),
    "feature_dim is a string": ("self.feature_dim = width", 'self.feature_dim = "8"'),
    "no super().__init__()": ("        super().__init__(**kwargs)\n", ""),
    "an object in the checkpoint": (STEP, STEP + "\n    def on_save_checkpoint(self, checkpoint):\n"
                                    "        super().on_save_checkpoint(checkpoint)\n"
                                    "        checkpoint['own'] = Own\n"),
    "on_save_checkpoint without super": (STEP, STEP + "\n    def on_save_checkpoint(self, checkpoint):\n"
                                         "        checkpoint['own'] = 1\n"),
    "no training_step": (STEP, ""),
    "training_step fails": ("loss = self.encoder", "loss = self.missing"),
    "no subclass of Method": ("class Own(Method)", "class Own(nn.Module)"),
    "an error in the syntax": ("class Own(Method):", "class Own(Method)"),
    "an import that fails": ("import torch\n", "import torch\nimport no_such_package\n"),
    "another name": ("class Own(", "class Owner("),
    "a required argument": ("width: int = 8", "width: int"),
}  # fmt: skip
"""What is wrong, the text that is replaced, and its replacement."""
SAYS = {
    "training_step fails": "'Own' object has no attribute 'missing'",
    "an error in the syntax": "SyntaxError",
    "an import that fails": "No module named 'no_such_package'",
}
"""Texts of messages; other messages name the class."""
GOOD: dict[str, tuple[str, str]] = {
    "a network that cannot be copied": (
        "hidden=(16,))\n",
        "hidden=(16,))\n        for layer in self.encoder.modules():\n"
        "            if isinstance(layer, nn.Linear):\n"
        "                nn.utils.weight_norm(layer)\n",
    ),
    "a list of registered networks": ("hidden=(16,))\n", "hidden=(16,))\n        self.both = [self.encoder]\n"),
    "feature_dim is an integer of numpy": ("self.feature_dim = width", "self.feature_dim = np.int64(width)"),
    "correct": ("", ""),
    "no type of image_shape": ("image_shape: tuple[int, ...]", "image_shape"),
    "no log": ('        self.log_metrics({"loss": loss})\n', ""),
    "manual optimization that returns nothing": (
        STEP,
        "    @property\n    def automatic_optimization(self):\n        return False\n\n"
        "    def training_step(self, batch, batch_idx: int) -> None:\n"
        "        optimizer = self.optimizers()\n        optimizer.zero_grad()\n"
        "        self.manual_backward(self.encoder(batch.images[0]).square().mean())\n        optimizer.step()\n",
    ),
}


def mutate(rng: random.Random, folder: Path) -> Case:
    """A module with a correct method or with one mistake, trained for one step."""
    name = rng.choice([*MISTAKES, *GOOD])
    old, new = (MISTAKES | GOOD)[name]
    assert old in MODULE
    module = f"own_{rng.randrange(10**9)}"
    (folder / f"{module}.py").write_text(MODULE.replace(old, new, 1) if old else MODULE)
    arguments = ["fit", f"--trust={folder}", f"--method={module}.Own", "--data=digits", "--epochs=1",
                 "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu"]  # fmt: skip
    if name in GOOD:
        return Case(name, arguments)
    return Case(name, arguments, codes=(1,) if name == "training_step fails" else (2,), says=SAYS.get(name, "Own"))

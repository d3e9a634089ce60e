"""Spectral normalisation of a whole network."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized


def normalize_spectrally(network: nn.Module, eps: float = 1e-6) -> None:
    """Divide the weight of every convolution and linear layer by its largest singular value (Miyato et al. 2018).

    There is one power iteration per forward pass in training, and none in evaluation. The default of `eps` is that of
    the structural GAN's released code. Call the function after the weights are initialised, because the singular
    vectors are initialised from the weights.
    """
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            spectral_norm(module, eps=eps)


@torch.no_grad()
def converge_spectral_norm(network: nn.Module, iterations: int = 32) -> None:
    """Run the power iterations of spectrally normalised weights that were not trained, such as moving averages.

    In evaluation, weights are divided by a singular value that is estimated from the stored vectors. The estimate is
    too small if the vectors belong to other weights. The network's training mode is unchanged.
    """
    for module in network.modules():
        if is_parametrized(module, "weight"):
            mode = module.training
            module.train()
            for _ in range(iterations):
                _ = module.weight  # in training each access runs one iteration
            module.train(mode)

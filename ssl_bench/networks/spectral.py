"""Spectral normalisation of a whole network."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def normalize_spectrally(network: nn.Module) -> None:
    """Divide the weight of every convolution and linear layer by its largest singular value (Miyato et al. 2018).

    One power iteration per forward pass in training, none in evaluation; eps 1e-6 as in the structural GAN's release.
    To be called after the weights were initialised, since the vectors of the iteration start from them.
    """
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            spectral_norm(module, eps=1e-6)

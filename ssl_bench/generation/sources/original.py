"""The images themselves as a second view."""

from torch import Tensor


def original_images(images: Tensor, ids: Tensor) -> Tensor:
    """Return images ``(N, C, H, W)`` unchanged as one view of each, ``(1, N, C, H, W)``.

    The view then goes through ``views.generated_recipe`` in place of the expert recipe, for example before a viewmaker.
    """
    return images.unsqueeze(0)

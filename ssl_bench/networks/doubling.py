"""Image sizes that generators support by repeated doubling."""

from ssl_bench.errors import UserError


def doublings(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size of the first feature map, 4 to 7 px, and the number of doublings, 1 to 5.

    Supported image sizes include 8, 16, 28, 32, 64 and 128 px. The first feature map of the published generators has
    4 px.

    Raises:
        UserError: the image is not square or its size is not supported.
    """
    if len(image_shape) == 3 and image_shape[1] == image_shape[2]:
        for number in range(1, 6):
            bottom, rest = divmod(image_shape[1], 2**number)
            if rest == 0 and 4 <= bottom <= 7:
                return bottom, number
    raise UserError(
        f"image_shape {tuple(image_shape)}: generators make square images (C, H, H) of 4 to 7 px doubled 1 to 5 times: "
        "give a size such as 8, 28, 32, 64 or 128"
    )

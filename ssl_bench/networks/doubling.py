"""How often generators double what they start from."""

from ssl_bench.errors import UserError


def doublings(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """The size of the first feature map, 4 to 7 px, and how often it is doubled, up to five times.

    8, 16, 28, 32, 64 and 128 px are such sizes, among others; the published generators start from 4 px.

    Raises:
        UserError: not such a square image.
    """
    if len(image_shape) == 3 and image_shape[1] == image_shape[2]:
        for number in range(1, 6):
            bottom, rest = divmod(image_shape[1], 2**number)
            if rest == 0 and 4 <= bottom <= 7:
                return bottom, number
    raise UserError(
        f"generators draw square images (C, H, H) of 4 to 7 px doubled up to five times, such as 8, 28, 32, 64 and "
        f"128, not {tuple(image_shape)}"
    )

"""Align two-dimensional maps of the same images, so that they can be compared by eye."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def procrustes(points: Points, reference: Points, shared: NDArray[np.intp], places: NDArray[np.intp]) -> Points:
    """Move, scale, rotate and, if that is nearer, reflect points towards those of a reference (Schoenemann 1966).

    Among all rotations and reflections, the squared distance of the shared points is minimal, after they have got the
    mean and the mean square of those of the reference.

    Args:
        points: points of a map ``(n, 2)``.
        reference: points of the reference map ``(m, 2)``.
        shared: rows of `points` whose images the reference has, too.
        places: rows of `reference` with these images, in the same order.

    Returns:
        All points ``(n, 2)``, in the coordinates of the reference.

    Example:
        >>> import numpy as np
        >>> square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
        >>> turned = 3 * square @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 5
        >>> rows = np.arange(4)
        >>> bool(np.allclose(procrustes(turned, square, rows, rows), square))
        True
    """
    ours, theirs = normalized(points, shared), normalized(reference, places)
    u, _, v = np.linalg.svd(ours[shared].T @ theirs[places])
    centre = reference[places].mean(0)
    size = np.sqrt(((reference[places] - centre) ** 2).sum(1).mean())
    aligned: Points = ours @ (u @ v) * size + centre
    return aligned


def normalized(points: Points, rows: NDArray[np.intp]) -> Points:
    """Points ``(n, 2)``, moved and scaled so that some of their rows have mean 0 and mean square 1."""
    centred = points - points[rows].mean(0)
    size = float(np.sqrt((centred[rows] ** 2).sum(1).mean()))
    scaled: Points = centred / (size or 1.0)
    return scaled

"""Numbers of devices as they are given in flags and files; needs neither torch nor Lightning."""

import re

from ssl_bench.errors import UserError

MOST = 1024
"""Most devices of a machine: one process is started for each."""


def given_devices(key: str, devices: object) -> int | None:
    """Number of devices that a setting gives; None if it is all that are available.

    Args:
        key: the flag or key, for the message.
        devices: a number, indices of GPUs such as ``0,1``, or ``auto`` or -1 for all.

    Raises:
        UserError: `devices` is none of these.
    """
    text = re.sub(r"[\[\] ]", "", str(devices))
    if text in ("auto", "-1"):
        return None
    if re.fullmatch(r"\d+(,\d+)*,?", text):
        indices = isinstance(devices, list) or re.search(r"[\[,]", str(devices))
        number = len(text.removesuffix(",").split(",")) if indices else int(text)
        if 1 <= number <= MOST:
            return number
    raise UserError(f"{key} must be a number of devices, indices such as 0,1 or auto, got {str(devices)!r}")

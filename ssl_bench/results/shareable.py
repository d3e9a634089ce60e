"""Text for files that are shared: without the folders of this machine and without secrets."""

import os
import re
from typing import Any

SECRET_NAMES = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
"""Pattern of the names of environment variables that contain secrets."""
SECRET_LENGTH = 8
"""Smallest length of a secret; shorter values, such as ``true``, would match parts of other words."""

PATH = re.compile(
    # In quotes, where it may contain spaces, also after a flag: '--data.root=/home/me/my photos'.
    r"""(?P<before>(?P<quote>['"])(?:[\w.-]+=)?)(?:/|~[^/'"]*/|\.\./)(?P<quoted>[^'"\n]+)(?P=quote)|"""
    # An absolute path, also after a colon, but not the path of a URL.
    r"(?:(?<![\w.~/:*?)\]}%])|(?<=:)(?!//)|(?<=file://)|"
    # A path below a home folder, or a relative path that begins with `..`.
    r"(?<![\w.])~[\w.-]*|(?<![\w./])\.\.)"
    r"""(?P<plain>(?:/+[^\s/'"(),;<>|{}\[\]]+)+)/*"""
)


def shareable(value: Any) -> Any:
    """Shorten paths to their last component and hide secrets, in all strings of a JSON value.

    ``/home/me/photos``, ``~/photos`` and ``../photos`` become ``.../photos``; other relative paths are kept. Values of
    environment variables whose names contain KEY, TOKEN, SECRET or PASSWORD become ``***``. Keys of dicts are kept.
    """
    if isinstance(value, dict):
        return {key: shareable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(item) for item in value]
    return _shareable_text(value) if isinstance(value, str) else value


def _shareable_text(text: str) -> str:
    secrets = {value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= SECRET_LENGTH}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    home = os.environ.get("HOME", "")
    if len(home) > 1:  # replaced as a whole, since its name may contain spaces
        text = re.sub(rf"(?<![\w./]){re.escape(home)}(?![\w.-])", "~", text)
    return PATH.sub(_last_component, text)


def _last_component(path: re.Match[str]) -> str:
    last = (path["quoted"] or path["plain"]).rstrip("/").rpartition("/")[2]
    return f"{path['before']}.../{last}{path['quote']}" if path["quoted"] else f".../{last}"

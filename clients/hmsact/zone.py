"""Which time zone this machine is in, by its IANA name: what Python itself can't tell."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo

UTC = "UTC"

_FOLDER = "zoneinfo"


def local_zone() -> str:
    """The name of the time zone, such as "America/New_York"; UTC where it has none that others would know."""
    said = os.environ.get("TZ")
    return _known(said.removeprefix(":")) if said is not None else _known(os.path.realpath("/etc/localtime"))


def _known(place: str) -> str:
    """The zone of a name, or of a file among those of the system."""
    parts = Path(place).parts
    name = "/".join(parts[parts.index(_FOLDER) + 1 :]) if _FOLDER in parts else place
    try:
        return ZoneInfo(name).key
    except (LookupError, ValueError, OSError):
        return UTC

"""How many files and connections the process may have open."""

from __future__ import annotations

import resource
from typing import Final

from hmsactd.errors import StartRefused

NEEDED: Final = 256
"""The daemon itself takes about 40; the rest is for clients. Below, it would refuse its first workers."""

WANTED_MAX: Final = 1_048_576
"""What the soft limit is raised to at most: some systems say "unlimited", and a table of that size is no use."""


def raise_limit() -> int:
    """Raises the soft limit to the hard one and returns it; raises StartRefused if that is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_MAX if hard == resource.RLIM_INFINITY else min(hard, WANTED_MAX)
    if soft == resource.RLIM_INFINITY:
        return WANTED_MAX
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft < NEEDED:
        raise StartRefused(
            f"the process may open {soft} files, and the daemon needs {NEEDED} at least: "
            "raise the limit (ulimit -n, LimitNOFILE= of systemd)"
        )
    return soft

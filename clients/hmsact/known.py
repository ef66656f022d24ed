"""Remembers the keys of daemons that were met before, one a line: the daemon's name, its verifier key.

The file is `$HMSACT_KNOWN`, else `known_daemons` in the user's configuration. Whoever wants a daemon to be new again
removes its line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hmsact.note import VerifierKey


class KeyChanged(Exception):
    """Raised when a daemon is remembered with another key than the one it is now said to have."""


class KnownDaemons:
    """The daemons that are remembered."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> KnownDaemons:
        """Returns those that the user remembers."""
        if told := environment.get("HMSACT_KNOWN"):
            return cls(Path(told))
        home = environment.get("XDG_CONFIG_HOME")
        return cls((Path(home) if home else Path.home() / ".config") / "hmsact" / "known_daemons")

    def key_of(self, name: str) -> VerifierKey | None:
        """Returns the key that a daemon is remembered with; raises ValueError if its line can't be read."""
        return self._keys().get(name)

    def remember(self, key: VerifierKey) -> bool:
        """Remembers a daemon's key. Returns whether it was new; raises KeyChanged if the daemon has another."""
        known = self.key_of(key.name)
        if known is not None and known != key:
            raise KeyChanged(f"{key.name} is remembered with another key in {self.path}")
        if known is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # One short write in append mode: two commands at once don't spoil each other's line.
            with self.path.open("a", encoding="ascii") as file:
                file.write(f"{key.name} {key}\n")
        return known is None

    def _keys(self) -> dict[str, VerifierKey]:
        if not self.path.exists():
            return {}
        keys: dict[str, VerifierKey] = {}
        for number, line in enumerate(self.path.read_text("ascii").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, text = line.strip().partition(" ")
            key = VerifierKey.parse(text)
            if key.name != name or name in keys:
                raise ValueError(f"line {number} of {self.path} is not one daemon and its key")
            keys[name] = key
        return keys

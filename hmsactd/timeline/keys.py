"""The key files of a data directory: one signs the log, one wraps the payload keys. Made once, read by nobody else."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hmsactd.store.errors import DataRefused
from hmsactd.store.journal import bring_names_to_disk

SIGNING_FILE: Final = "signing.key"
PAYLOAD_FILE: Final = "payload.key"
NAME_FILE: Final = "log.name"
"""Holds the name of the log that was begun here, so that its database can't be missing unnoticed."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a daemon."""

    signing: Ed25519PrivateKey
    payload: bytes


def fresh_keys() -> Keys:
    """Makes keys that are kept nowhere: for the memory store and for tests."""
    return Keys(Ed25519PrivateKey.generate(), os.urandom(32))


def load_keys(directory: Path, *, may_make: bool) -> Keys:
    """Reads the key files of a data directory, or makes them if it is new; raises DataRefused."""
    signing, payload = directory / SIGNING_FILE, directory / PAYLOAD_FILE
    try:
        if may_make and not signing.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _keep(signing, pem)
        if may_make and not payload.exists():
            _keep(payload, base64.b64encode(os.urandom(32)) + b"\n")
    except OSError as error:
        raise DataRefused(f"keys can't be made in {directory}: {error.strerror}") from error
    return Keys(_signing_key(signing), _payload_key(payload))


def check_name(directory: Path, database: Path) -> None:
    """Refuses to begin anew where a log was begun already and its database is gone."""
    try:
        name = (directory / NAME_FILE).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataRefused(f"{directory / NAME_FILE} can't be read: {error.strerror}") from error
    if not database.exists() or not database.stat().st_size:
        state = "is empty" if database.exists() else "is missing"
        raise DataRefused(
            f"{database} {state}, and {directory} has held the log {name}: restore it from a backup, or, to begin "
            f"another log, use an empty directory"
        )


def keep_name(directory: Path, name: str) -> None:
    """Notes the name of the log; raises DataRefused if another one was begun here."""
    path = directory / NAME_FILE
    try:
        if not path.exists():
            _keep(path, f"{name}\n".encode())
    except OSError as error:
        raise DataRefused(f"{path} can't be written: {error.strerror}") from error
    compare_name(directory, name)


def compare_name(directory: Path, name: str) -> None:
    """Raises DataRefused if another log than this one was begun here."""
    path = directory / NAME_FILE
    try:
        before = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataRefused(f"{path} can't be read: {error.strerror}") from error
    if before != name:
        raise DataRefused(
            f"the database holds the log {name}, and {directory} has held {before}: put back the database that "
            f"belongs here, or, if this one does, remove {path}"
        )


def _signing_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_private_bytes(path), password=None)
    except (ValueError, TypeError) as error:
        raise DataRefused(f"{path} is not a private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataRefused(f"{path} is not an Ed25519 key")
    return key


def _payload_key(path: Path) -> bytes:
    try:
        key = base64.b64decode(_private_bytes(path).strip(), validate=True)
    except ValueError as error:
        raise DataRefused(f"{path} is not base64") from error
    if len(key) != 32:
        raise DataRefused(f"{path} does not hold a key of 32 bytes")
    return key


def _private_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise DataRefused(f"{path} can be read by others (mode {mode:04o}): chmod 600 it")
            return file.read()
    except FileNotFoundError as error:
        raise DataRefused(
            f"{path} is missing, and what is kept here can't be opened without it: restore it from where you keep it"
        ) from error
    except OSError as error:
        raise DataRefused(f"{path} can't be read: {error.strerror}") from error


def _keep(path: Path, content: bytes) -> None:
    """Writes a key file so that after a crash it is there whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    bring_names_to_disk(path.parent)

"""What is to be called, and by what the two sides know one another: read as the daemon reads its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from standardwebhooks import Webhook

from hmsactd.services.credentials import Credentials, credentials_of
from hmsactd.settings.called import Called

OPTIONS: Final = {"ca_file": "--ca", "certificate_file": "--certificate", "key_file": "--key"}


@dataclass(frozen=True, slots=True)
class Target:
    """A service under its address. `secret` is None when requests are not signed."""

    svc: str
    called: Called
    credentials: Credentials
    secret: Webhook | None = None


def target_of(
    address: str,
    svc: str,
    secret: str | None,
    authorities: Path | None,
    certificate: Path | None,
    key: Path | None,
    faults: list[str],
) -> Target | None:
    """The target, or None; everything that is wrong with what was said is added to `faults`, in sentences."""
    webhook = None if secret is None else _webhook(secret, faults)
    said = {"address": address, "ca_file": authorities, "certificate_file": certificate, "key_file": key}
    try:
        called = Called.model_validate(said)
    except ValidationError as error:
        faults += [_fault(address, str(found["loc"][0]), str(found["ctx"]["error"])) for found in error.errors()]
        return None
    in_files: list[str] = []
    credentials = credentials_of(called, in_files)
    faults += [_fault(address, *fault.split(": ", 1)) for fault in in_files]
    return None if faults else Target(svc, called, credentials, webhook)


def _fault(address: str, setting: str, sentence: str) -> str:
    match setting:
        case "address":
            return f"{address} {sentence}"
        case "insecure":
            return f"{address} would be called in plain text: over a network it must be https or grpcs"
        case _:
            return f"{OPTIONS[setting]}: {sentence}"


def _webhook(secret: str, faults: list[str]) -> Webhook | None:
    """A secret as it is signed with."""
    try:
        return Webhook(secret)
    except (ValueError, RuntimeError):
        faults.append("the secret is not one of Standard Webhooks: whsec_ and then base64")
        return None

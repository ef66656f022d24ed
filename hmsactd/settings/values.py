"""What settings are made of: tables, addresses, lengths of time."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_settings import NoDecode

from hmsactd.definition import duration


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 lets the machine choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time, written "15m"."""

    ms: int

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.ms / 1000

    @property
    def us(self) -> int:
        """The same in microseconds."""
        return self.ms * 1000

    def __str__(self) -> str:
        return duration.spell(self.ms)


ADDRESS_FAULT = 'is not HOST:PORT, such as "127.0.0.1:7400"'


def _address(said: object) -> Address:
    if isinstance(said, Address):
        return said
    if not isinstance(said, str):
        raise ValueError(ADDRESS_FAULT)
    host, colon, port = said.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(ADDRESS_FAULT)
    return Address(host, int(port))


def _span(said: object) -> Span:
    if isinstance(said, Span):
        return said
    if not isinstance(said, str):
        raise ValueError('is not a length of time, such as "10s"')
    return Span(duration.parse(said))


# NoDecode: what is a class here is a plain text in the environment, and not JSON.
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(_address), PlainSerializer(str)]
Duration = Annotated[Span, NoDecode, BeforeValidator(_span), PlainSerializer(str)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
    )

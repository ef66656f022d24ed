"""Reading settings: file, then environment, then flags, each over the one before; and what is wrong with them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from hmsactd.errors import SettingsRefused
from hmsactd.settings.settings import NESTED, PREFIX, Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

CONFIG_VARIABLE = "HMSACTD_CONFIG"

FLAGS: dict[tuple[str, ...], str] = {
    ("grpc", "listen"): "--grpc",
    ("http", "listen"): "--http",
    ("data", "directory"): "--data",
}
"""Settings whose flag is shorter than they are."""

KUBERNETES = re.compile(r"HMSACTD_(SERVICE_(HOST|PORT.*)|PORT(_.*)?)")
"""Variables that Kubernetes sets beside a service named "hmsactd", and that nobody means as settings."""


def load(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Reads the file (or the one that HMSACTD_CONFIG names) and the environment; raises SettingsRefused.

    `flags` has the shape of the file: `{"grpc": {"listen": "127.0.0.1:7400"}}`.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    file = config or (Path(named) if named else None)
    said = Said(_read(file) if file is not None else {}, _environment(), dict(flags or {}), str(file))
    faults = list(_unknown_variables())
    try:
        settings = Settings(**said.merged())
    except ValidationError as error:
        faults += [_fault(found, said) for found in error.errors()]
        raise SettingsRefused(faults) from error
    if faults:
        raise SettingsRefused(faults)
    return settings


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, and where: the later over the earlier."""

    in_file: dict[str, Any]
    in_environment: dict[str, Any]
    in_flags: dict[str, Any]
    file: str

    def merged(self) -> dict[str, Any]:
        """All of it."""
        return _over(self.in_flags, _over(self.in_environment, self.in_file))

    def place(self, path: tuple[str, ...]) -> str:
        """How whoever said it would name it: as a flag, a variable, or a key of the file."""
        if _has(self.in_flags, path):
            return FLAGS.get(path, "--" + "-".join(path).replace("_", "-"))
        if _has(self.in_environment, path):
            return PREFIX + NESTED.join(path).upper()
        name = ".".join(path)
        return f"{name} in {self.file}" if _has(self.in_file, path) else name


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsRefused([f"{file} can't be read: {error.strerror or error}"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsRefused([f"{file} is not TOML: {error}"]) from error


def _environment() -> dict[str, Any]:
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise SettingsRefused([f"the environment can't be used: {error}"]) from error


def _over(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """One set of tables over another; what is no table replaces what is there."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _over(value, below) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _has(tables: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    here: Any = tables
    for name in path:
        if not isinstance(here, Mapping) or name not in here:
            return False
        here = here[name]
    return True


# -- faults ------------------------------------------------------------------------------------------------------------


def _fault(found: ErrorDetails, said: Said) -> str:
    """One fault as a sentence that begins with its place."""
    path = tuple(str(part) for part in found["loc"] if part != "[key]")
    place = said.place(path)
    if found["type"] == "extra_forbidden":
        return f"{place}: there is no such setting{_meant(path)}"
    if found["type"] == "value_error":
        return f"{place}: {found['ctx']['error']}"
    return f"{place}: {found['msg'][0].lower()}{found['msg'][1:]}"


def _meant(path: tuple[str, ...]) -> str:
    """The known setting that comes closest to an unknown one."""
    *tables, name = path
    close = get_close_matches(name, _names(tables), 1)
    return f", did you mean {'.'.join([*tables, close[0]])}?" if close else ""


def _names(tables: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    table_of_tables: type[BaseModel] | None = None
    for table in tables:
        if table_of_tables is not None:
            model, table_of_tables = table_of_tables, None
            continue
        field = model.model_fields.get(table)
        *_, kind = (None, *get_args(field.annotation)) if field is not None else (None,)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            # Its keys are names that the operator chooses; what they name has settings.
            table_of_tables = kind
        elif field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        else:
            model = field.annotation
    return list(model.model_fields)


def _unknown_variables() -> Iterator[str]:
    """Variables with our prefix that name no table. Those within a table are found with the table."""
    for variable in sorted(os.environ):
        if not variable.upper().startswith(PREFIX) or variable == CONFIG_VARIABLE or KUBERNETES.fullmatch(variable):
            continue
        table = variable[len(PREFIX) :].lower().split(NESTED)[0]
        if table not in Settings.model_fields:
            yield f"{variable}: there is no such setting (a variable is named like {PREFIX}GRPC{NESTED}LISTEN)"

"""The package is light: what is not used is not loaded."""

import subprocess
import sys

import hmsact
import pytest


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not {"grpc", "google.protobuf", "cryptography", "click", "rich", "asyncio"} & loaded_by("import hmsact")


def test_building_a_flow_loads_no_grpc() -> None:
    assert "grpc" not in loaded_by("from hmsact import Checkpoint, Step; Step('a', svc='B')")


def test_a_client_loads_neither_the_daemon_nor_the_command_line() -> None:
    loaded = loaded_by("from hmsact import AsyncOrchestrator, Orchestrator, Worker; Orchestrator().close()")
    assert not {"hmsactd", "click", "rich", "cryptography", "pytest"} & loaded


def test_every_public_name_is_there() -> None:
    for name in hmsact.__all__:
        assert getattr(hmsact, name) is not None
    assert set(hmsact.__all__) <= set(dir(hmsact))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Orchestra'"):
        _ = hmsact.Orchestra

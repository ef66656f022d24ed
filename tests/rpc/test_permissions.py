"""Every RPC says in the proto what it asks for."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from hmsact.v1 import options_pb2, step_pb2

from hmsactd.core.principal import PrincipalKind
from hmsactd.errors import StartRefused
from hmsactd.identity.permissions import AGENT, BY_KIND, OPERATE, PAYLOAD_READ, PUBLIC, SERVICE
from hmsactd.rpc.permissions import FILES, permission_table
from hmsactd.rpc.server import SERVICES

AGENCIES = {"step.proto"}
"""Services that agencies implement and the daemon calls: whom they let in is their own business."""

PROTO = Path(__file__).parents[2] / "proto"


def test_every_rpc_of_the_daemon_has_a_permission() -> None:
    table = permission_table()
    assert table["/hmsact.v1.OperationService/StartOperation"] == "operation.start"
    assert table["/hmsact.v1.SystemService/Whoami"] == "public"
    assert all(table.values())


def test_no_proto_file_with_a_service_is_forgotten() -> None:
    with_service = {path.name for path in PROTO.glob("hmsact/v1/*.proto") if "\nservice " in path.read_text()}
    assert {Path(file.name).name for file in FILES} == with_service - AGENCIES


def test_what_agencies_implement_asks_for_no_permission_and_is_not_served_by_the_daemon() -> None:
    (service,) = step_pb2.DESCRIPTOR.services_by_name.values()
    assert service.full_name not in SERVICES
    assert [method.name for method in service.methods if method.GetOptions().Extensions[options_pb2.permission]] == []


def test_every_permission_is_held_by_somebody() -> None:
    # system.clock is the developer's alone, who holds every one.
    held = OPERATE | SERVICE | AGENT | {PUBLIC, "system.clock"}
    assert set(permission_table().values()) - held == set()


def test_no_permission_is_held_that_nothing_asks_for() -> None:
    asked = {*permission_table().values(), PAYLOAD_READ}
    assert (OPERATE | SERVICE | AGENT) - asked == set()
    assert BY_KIND.keys() == set(PrincipalKind)


def test_rpc_without_a_permission_is_named_at_the_start() -> None:
    with pytest.raises(StartRefused, match=r"/hmsact\.v1\.Careless/Do, /hmsact\.v1\.Careless/Undo$"):
        permission_table([careless()])


def careless() -> FileDescriptor:
    """A file whose service forgot its permissions."""
    file = descriptor_pb2.FileDescriptorProto(name="careless.proto", package="hmsact.v1", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Careless")
    for name in ("Do", "Undo"):
        service.method.add(name=name, input_type=".hmsact.v1.Nothing", output_type=".hmsact.v1.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindFileByName("careless.proto")

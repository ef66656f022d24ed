"""Which permission each RPC asks for, and of whom, read from the options in the proto files."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from hmsact.v1 import checkpoint_pb2, job_pb2, operation_pb2, options_pb2, system_pb2, timeline_pb2, worker_pb2

from hmsactd.errors import StartRefused
from hmsactd.identity.credential import Asked

FILES: tuple[FileDescriptor, ...] = (
    checkpoint_pb2.DESCRIPTOR,
    job_pb2.DESCRIPTOR,
    operation_pb2.DESCRIPTOR,
    system_pb2.DESCRIPTOR,
    timeline_pb2.DESCRIPTOR,
    worker_pb2.DESCRIPTOR,
)


def permission_table(files: Iterable[FileDescriptor] = FILES) -> dict[str, str]:
    """Permission by RPC ("/package.Service/Method"). Raises StartRefused if one has none."""
    table: dict[str, str] = {}
    missing: list[str] = []
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                rpc = f"/{service.full_name}/{method.name}"
                table[rpc] = method.GetOptions().Extensions[options_pb2.permission]
                if not table[rpc]:
                    missing.append(rpc)
    if missing:
        raise StartRefused(f"no permission is written in the proto for {', '.join(missing)}")
    return table


def caller_table(files: Iterable[FileDescriptor] = FILES) -> dict[str, Asked]:
    """Whose identity each RPC is about, by RPC."""
    return {
        f"/{service.full_name}/{method.name}": Asked(method.GetOptions().Extensions[options_pb2.caller])
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }

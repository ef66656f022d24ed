"""The daemon's word on itself, or on its caller."""

from __future__ import annotations

from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.principal import Identity, identity_of
from hmsact.system import SystemInfo, system_info_of
from hmsact.v1 import system_pb2


class System(Connection):
    """Asks the daemon what it is, and who is calling."""

    def whoami(self) -> Identity:
        """Who you are to the daemon, and what you may do."""
        return identity_of(self._call(self._stubs.system.Whoami, system_pb2.WhoamiRequest()))

    def info(self) -> SystemInfo:
        """What the daemon is: its version, its log and the key that seals it, its bounds."""
        return system_info_of(self._call(self._stubs.system.GetSystemInfo, system_pb2.GetSystemInfoRequest()))


class AsyncSystem(AsyncConnection):
    """The twin of System for coroutines."""

    async def whoami(self) -> Identity:
        """Who you are to the daemon, and what you may do."""
        return identity_of(await self._call(self._stubs.system.Whoami, system_pb2.WhoamiRequest()))

    async def info(self) -> SystemInfo:
        """What the daemon is: its version, its log and the key that seals it, its bounds."""
        return system_info_of(await self._call(self._stubs.system.GetSystemInfo, system_pb2.GetSystemInfoRequest()))

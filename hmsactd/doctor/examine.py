"""Every check, in the order in which one would look."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hmsactd.doctor import certificates, data, doors, machine
from hmsactd.doctor.finding import Finding, ok
from hmsactd.settings.settings import Settings
from hmsactd.store.lock import holder


async def examine(settings: Settings, *, is_full: bool) -> AsyncIterator[Finding]:
    """Yields what is found, one after the other; `is_full` reads the whole log."""
    yield ok("settings", "can be used; `hmsactd config --explain` tells what each is for")
    pid = holder(settings.data.directory) if settings.data.store == "sqlite" else None
    yield ok("daemon", f"runs, as process {pid}" if pid else "is stopped, or keeps its data elsewhere")
    for finding in machine.of_process(settings):
        yield finding
    if settings.data.store == "memory":
        yield ok("data", "are kept in memory: there is nothing to look at")
    else:
        for finding in machine.of_disk(settings):
            yield finding
        async for finding in data.of_directory(settings, is_full=is_full):
            yield finding
        if settings.identity.workloads:
            yield certificates.of_tokens(settings)
    for finding in certificates.of_certificates(settings):
        yield finding
    for finding in doors.of_doors(settings, is_running=pid is not None):
        yield finding

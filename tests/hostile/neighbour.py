"""Somebody with an honest errand while others are hostile: each operation is started, approved and read, and timed."""

from __future__ import annotations

import threading
import time
from statistics import quantiles
from typing import Self

from hmsact import Checkpoint, Orchestrator

from tests.hostile.stage import OFFICER

NAMESPACE = "neighbour"


class Neighbour:
    """Goes on from the beginning to the end of a block, on a thread of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="neighbour")
        self._failures: list[BaseException] = []
        self.waits_s: list[float] = []
        """How long each errand took: three requests, and the reading of its state."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._is_over.set()
        self._thread.join()
        if self._failures and raised[0] is None:
            raise self._failures[0]

    @property
    def figures(self) -> str:
        """How it fared, in words."""
        cuts = quantiles(self.waits_s, n=100)
        return f"{len(self.waits_s)} errands of others, median {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms"

    def _go_on(self) -> None:
        try:
            with (
                Orchestrator(self._address, token="", namespace=NAMESPACE) as act,
                Orchestrator(self._address, token=OFFICER, namespace=NAMESPACE) as officer,
            ):
                while not self._is_over.is_set():
                    began = time.monotonic()
                    operation = act.start(name="errand", steps=[Checkpoint("review", role="fsa.officer")])
                    officer.approve(operation, "review", "as it should be")
                    assert act.get(operation).state == "completed"
                    self.waits_s.append(time.monotonic() - began)
                    self._is_over.wait(0.01)
        except BaseException as failure:  # noqa: BLE001 -- raised again in the test's own thread
            self._failures.append(failure)

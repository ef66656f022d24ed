"""A program: a worker that does nothing but what it is told, one line at a time.

Arguments: the service, how many calls at a time, and the cases that kill whoever does them. It says
`begun CASE ATTEMPT KEY` for every call, and goes on with a case when standard input says `CASE`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import defaultdict

from hmsact import Call, Worker

svc, max_in_flight, *poisons = sys.argv[1:]
worker = Worker(svc, token=f"dev:svc/{svc}", max_in_flight=int(max_in_flight))
told: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def hear() -> None:
    for line in sys.stdin:
        told[line.strip()].set()


@worker.step("work")
def work(call: Call) -> str:
    # A function on a thread: nobody can stop it, whatever the daemon says.
    # In one piece: others say the same at the same time.
    os.write(sys.stdout.fileno(), f"begun {call.input} {call.attempt} {call.idempotency_key}\n".encode())
    told[call.input].wait()
    if call.input in poisons:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{call.input} is done"


threading.Thread(target=hear, daemon=True).start()
worker.run()

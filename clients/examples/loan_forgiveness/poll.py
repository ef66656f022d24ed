# poll.py OPERATION_ID: shows what happens to an operation, until it is over.
import signal
import sys

from hmsact import Orchestrator

if len(sys.argv) != 2:
    print("usage: python poll.py OPERATION_ID", file=sys.stderr)
    sys.exit(2)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word

act = Orchestrator()
for evt in act.events(sys.argv[1]):
    print(evt)

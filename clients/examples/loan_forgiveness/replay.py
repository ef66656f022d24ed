# replay.py OPERATION_ID: tells what has happened to an operation.
import signal
import sys

from hmsact import Orchestrator

if len(sys.argv) != 2:
    print("usage: python replay.py OPERATION_ID", file=sys.stderr)
    sys.exit(2)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word

act = Orchestrator()
for line in act.timeline(sys.argv[1]):
    print(line.pretty())

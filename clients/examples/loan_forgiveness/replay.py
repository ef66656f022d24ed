# replay.py OPERATION_ID: tells what has happened to an operation.
import sys

from hmsact import Orchestrator

act = Orchestrator()
for line in act.timeline(sys.argv[1]):
    print(line.pretty())

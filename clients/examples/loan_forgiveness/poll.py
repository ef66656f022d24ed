# poll.py OPERATION_ID: shows what happens to an operation, until it is over.
import sys

from hmsact import Orchestrator

act = Orchestrator()
for evt in act.events(sys.argv[1]):
    print(evt)

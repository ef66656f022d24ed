"""The machine that the daemon runs on: its disk, its memory, its descriptors, its clock.

Looked at now and then, never in the course of a request.
"""

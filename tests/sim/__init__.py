"""The daemon, from its servicers inward, in one process: time is virtual, order and faults come from a seed.

One seed is one world: a daemon over a disk that loses and fails, people, workers and followers around it. Every run
ends with what must hold whatever happened (`oracle`); same seed, same records, to the byte. `python -m tests.sim -h`.
"""

"""Benchmarks: real processes on loopback, one JSON line a figure. `make bench` runs them all."""

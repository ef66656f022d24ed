"""Realistic bugs, each a patch of the product that names the test expected to catch it. `python -m tests.mutants`."""

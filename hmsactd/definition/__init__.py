"""A flow as data: its model, its JSON, its validation.

Knows nothing of running operations. Conditions, versions and release belong here when they come.
"""

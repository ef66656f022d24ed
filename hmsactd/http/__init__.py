"""The browser's door: metrics and health, for monitoring.

JSON, event streams and the console belong here when they come. Nothing is decided here.
"""

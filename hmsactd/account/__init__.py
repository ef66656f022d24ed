"""What has happened to an operation in plain words: who decided, what is awaited, since when and by when.

Derived from events by replay, and from nothing else but what callers said. Pure: reads no clock, no store, no words.
"""

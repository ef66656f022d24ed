"""The rules of an operation: what it is told, what then has happened, what should be under way.

Pure: awaits nothing, reads no clock, draws no random number, logs nothing, stores nothing. Times come in as
arguments, in microseconds since the Unix epoch. What does not belong here: protobuf, SQL, JSON on disk, sockets.
"""

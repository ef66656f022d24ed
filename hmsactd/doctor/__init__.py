"""`hmsactd doctor`: looks at everything that a daemon depends on and says in a line each what to do.

Changes nothing, and may run beside a daemon: it reads the database through a connection that can't write.
"""

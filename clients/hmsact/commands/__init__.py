"""The commands of `hmsact`, a file for each group of them.

They read arguments, call the SDK and show what comes back. What a command may do is the daemon's to say; how events
read is in hmsact.render.
"""

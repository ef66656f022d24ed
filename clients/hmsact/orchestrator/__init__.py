"""What the two clients can do, a file for each topic: the blocking class, then its twin for coroutines.

The two have the same methods with the same parameters; where a docstring of a twin is short, the blocking one says the
rest. They make calls: how requests are built is in hmsact.requests, how answers read in the files named after them.
"""

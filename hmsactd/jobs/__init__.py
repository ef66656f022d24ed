"""Jobs: what somebody asked for once, done to many operations one by one, in the background.

A job tells operations what a person could tell each of them, in that person's name; it decides nothing. All that it
knows is kept as it goes, so that it can be broken off at any place and goes on there.
"""

"""What the daemon is told to be: file, then environment, then flags, each over the one before.

    values.py   what settings are made of      sections.py   tables about the daemon itself
    called.py   services that it calls         settings.py   all of it, and what must agree
    load.py     reading, and what is wrong

The text under a field is its manual; `hmsactd config --explain` prints it.
"""

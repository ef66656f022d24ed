"""The record: what has happened, written once, chained, sealed, followed, exported.

`timeline.py` is the way in. `codec.py` knows how events look on disk, `payloads.py` what becomes of people's own words,
`tree.py` and `seal.py` make the log provable, `committer.py` writes it in batches. How bytes are kept is the store's.
"""

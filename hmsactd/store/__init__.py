"""Keeping: records, summaries, payloads, request ids and the log's tree, all or nothing a batch.

Knows no event and no rule: rows in, rows out. What a record says is the timeline's business, what a summary means
the engine's.
"""

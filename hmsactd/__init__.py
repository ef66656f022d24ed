"""The daemon, `hmsactd`.

rpc/ and http/ speak with the world; identity/ says who is calling and what they may do.
engine/ keeps one actor per operation and hands out what should be under way.
core/ holds the rules, pure; definition/ a flow as data.
timeline/ is the record, store/ keeps it, sinks/ carry it out.
daemon.py puts the parts together, cli.py starts it.
"""

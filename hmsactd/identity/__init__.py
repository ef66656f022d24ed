"""Who is calling, and what they may do: credentials to a principal, principal and permission to yes or no.

Knows nothing of operations; that the starter of one may not approve it is a rule of the core.
"""

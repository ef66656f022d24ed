"""Conformance: plays scenarios against an agency's own worker, and says what it does otherwise than it should.

A real daemon runs behind a relay, which notes what both sides say and can lose, repeat or cut. What each check asks for
is in docs/implementing.md; the worker is a test build of the agency's, with four steps of known behaviour.
"""

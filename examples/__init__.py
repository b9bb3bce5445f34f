"""Programs to read and to run; README.md has the list.

A package, so that nobody else's ``examples`` is found instead.
"""

"""What works with which family of providers: a section of docs/protocol.md, made of the tables.

`python -m tests.families` writes it.
"""

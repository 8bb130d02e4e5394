"""A real Redis that lets in few: with a private CA, client certificates, and users with few rights.

Its names begin with the operator's prefix, so that servers with another one share nothing.
"""

"""The processes that serve: one, or several workers under a supervisor."""

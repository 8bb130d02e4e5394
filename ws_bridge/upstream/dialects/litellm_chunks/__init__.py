"""Families without a writer here: litellm's `aresponses` asks, and its chat chunks are read."""

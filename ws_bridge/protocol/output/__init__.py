"""Pieces of an answer (text, reasoning, tool calls, images) -> events."""

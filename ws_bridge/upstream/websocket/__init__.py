"""Providers by way of their own WebSocket."""

"""Providers that are asked in a dialect of the bridge, by the bridge's own HTTP client."""

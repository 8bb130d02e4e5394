"""Below aiohttp: sizes, times, floods and silence of what comes in."""

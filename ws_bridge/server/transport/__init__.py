"""What comes in is looked at before aiohttp keeps it: sizes, times, floods, silence."""

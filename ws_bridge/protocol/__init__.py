"""The protocol, pure: no asyncio, no clock, no I/O, no third party but pydantic and orjson."""

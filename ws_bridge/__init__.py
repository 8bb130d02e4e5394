"""A WebSocket bridge: the Responses API's WebSocket mode for every provider litellm reaches."""

__version__ = "0.1.0"

"""The types that every room uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]  # a JSON object
Item = Json  # an input or output item of the Responses API
Now = Callable[[], float]  # a clock: seconds

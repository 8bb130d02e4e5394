"""The one limit of what the tests wait for.

It ends a hang and measures nothing: a busy machine makes tests slower, not red. What a test waits
for is an event, a log line or a gate; what the product limits is turned by a clock, or set long.
"""

HANG_SECONDS = 300.0

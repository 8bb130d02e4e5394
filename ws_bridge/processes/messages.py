"""What the supervisor and its workers write to each other, a line each.

Settings are one line of JSON, a generation is the number of the settings.
"""

# To a worker: ``settings GENERATION JSON`` is the first line, ...
SETTINGS = "settings"
# ... ``prepare GENERATION JSON``, ``commit GENERATION`` and ``discard GENERATION``.
PREPARE, COMMIT, DISCARD = "prepare", "commit", "discard"
# It is to be no longer ready; to end when what runs has finished; to wait for nothing.
LEAVE, DRAIN, FORCE = "leave", "drain", "force"
# ``usage NUMBER DAYS FILE``: it is to write what all keys have used into that file.
USAGE = "usage"
# Either way: the store was reached once, so that its absence makes no process unready.
STORED = "stored"

# From a worker: where it is, and that it wants a replacement, ...
LISTENING, READY, RELIEVE, UNUSABLE = "listening", "ready", "relieve", "unusable"
# ... ``prepared GENERATION``, ``refused GENERATION REASON`` and ``committed GENERATION``.
PREPARED, REFUSED, COMMITTED = "prepared", "refused", "committed"
# ``used NUMBER OUTCOME``: the file is written, or cannot be.
USED, WRITTEN, UNREADABLE = "used", "written", "unreadable"

MOST_LINE_BYTES = 2**26
MOST_REASON = 4000  # characters

"""Ten thousand sockets on one process, with streams among them: nobody may notice.

    python -m tests.scale --connections 10000 --seconds 60

One bridge, the bench's provider, and clients in processes of their own. First all sockets come and
are idle; then a hundred others stream beside them; then all come back at once, as after a restart
of a proxy, while those stream on; at last sockets come and go, many times their number, and the
process must be what it was.
"""

import sys
from pathlib import Path

# The helpers beside this folder are imported by name, as in all tests, and the bench as
# `tests.bench`, as it imports itself.
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

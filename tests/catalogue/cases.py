"""Every fault the bridge is to survive: its number, what happens, and what is seen then.

Rule 1: what is said here is what the tests with this number assert, no more. A limit of minutes or
hours is made shorter by them.
Rule 2: a number never changes its meaning and is never used again.
"""

GROUPS = {
    "W": "Servers and their processes",
    "R": "The store",
    "U": "Providers",
    "C": "Clients",
    "B": "Bad input",
    "S": "Keys, secrets and strangers",
    "A": "Found by an attack",
}

CASES = {
    # Servers and their processes
    "W1": "killed while it streams: the response fails on the others and keeps what it had said",
    "W2": "killed, the only server, started again: it ends itself what it had left behind",
    "W3": "killed before the first output of a background response: generated again, seen once",
    "W4": "dead between finding a lost response and claiming it: another one claims it",
    "W5": "dead between its claim and its first write: the next one claims it, one writer only",
    "W6": "dead while the end is on its way: stored first, it is the end; told first, it failed, "
    "and a reader beyond the log is told so",
    "W7": "frozen for longer than a lease, and back: it writes nothing more, its socket is told",
    "W8": "two claim the same response, 200 times: one gets it",
    "W9": "the last allowed attempt dies: failed, and not tried again",
    "W10": "SIGTERM, idle and busy sockets: idle ones 1012, busy ones finish, exit 0, no leases",
    "W11": "SIGTERM, a response longer than the drain: failed with what it had said, then 1012",
    "W12": "a second SIGTERM, or SIGINT during the start: an orderly end at once",
    "W13": "servers restarted one by one under chains: no chain breaks, no event is lost",
    "W14": "standing still for less than a lease: nothing is taken over, its sockets go on",
    "W15": "no file descriptors left: running streams unharmed, newcomers served when there are",
    "W16": "one of several workers killed: the others unaffected, its responses settled",
    "W17": "no room on the disk for its log: it serves all the same",
    "W18": "started while the store is away: not ready, unstored turns work, heals alone",
    "W19": "a clock an hour wrong, either way: nothing is taken over, nothing is kept too long",
    "W20": "an exception amid a response: that response fails, the connection lives",
    "W21": "starved of CPU: late, but whole, and nothing is taken over",
    # The store
    "R1": "shut down and started again amid streams: no stream waits, the log is whole afterwards",
    "R2": "killed and started again from its file: the same",
    "R3": "frozen for five seconds: the same, nothing twice, nothing taken over",
    "R4": "away for longer than a lease: nothing fails that did not, the log catches up",
    "R5": "away until the backlog is full: live streams whole, a gap in the log says so, the final "
    "object is whole",
    "R6": "wiped amid streams: running ones are written again, finished ones are 404",
    "R7": "one response loses its record, or its log: written again or ended, no other is touched",
    "R8": "killed and back empty: as wiped",
    "R9": "connections reset now and then: nothing lost, nothing twice",
    "R10": "carried out, but the answer lost: absorbed when it comes again",
    "R11": "a failover to a replica that lags behind: what is lacking is written again",
    "R12": "the master has become read-only: 503 where it must be, never 500, and it heals",
    "R13": "scripts forgotten: sent again, no client notices",
    "R14": "subscriptions killed: followers go on, nothing lost",
    "R15": "a subscription silently dead: found and made again",
    "R16": "no hint arrives at all: followers get everything all the same",
    "R17": "out of memory: background 503, live streams go on, it recovers",
    "R18": "allowed to evict: the log names the policy, and the one to set",
    "R19": "200 ms away: streams unchanged, nothing is given up",
    "R20": "a wrong password, at the start or later; busy with a script: said without a password, "
    "not ready meanwhile, heals",
    "R21": "rewriting its files under load: followers get everything",
    "R22": "a key of another type: that response ends, the process lives",
    "R23": "slots of a cluster move under load: every write arrives, whole",
    "R24": "a stored create while it is frozen, dead or mute: created in about a second, stored "
    "later, once",
    # Providers
    "U1": "not there, no such name, no TLS: one error that says no more than that",
    "U2": "429 with Retry-After, 500, 503: asked again within its budget, else the mapped error",
    "U3": "silent before the first event: upstream_timeout, its connection closed",
    "U4": "silent amid the answer: the same, what was said is kept",
    "U5": "an end without a terminal event: failed, never completed",
    "U6": "reset amid an event: failed, what was said is kept",
    "U7": "an unreadable line: the response fails, and the connection is used on",
    "U8": "split at any byte, CRLF, comments, no space after the colon: the same answer",
    "U9": "two ends, events after the end, any order and numbers: one answer, one end",
    "U10": "an event of 8 MiB, a line without end: told whole, or ended; memory bounded",
    "U11": "50,000 events at once: in order, whole, however slow the reader",
    "U12": "nothing but comments: silence all the same",
    "U13": "other ids in its events: the bridge's own in every event",
    "U14": "redirected elsewhere: its key does not go there",
    "U15": "an error that holds its key and a host inside: neither reaches client or log",
    "U16": "a compressed answer that unfolds to 1 GiB: ended, memory bounded",
    "U17": "it makes the answer itself in the background, and our server is killed: another "
    "server goes on, one answer",
    # Clients
    "C1": "reset amid a stored response: it completes, and can be read whole",
    "C2": "reset amid an unstored response: the provider's connection closes",
    "C3": "half closed: gone, as if reset",
    "C4": "a reader of one byte a second: little memory, no other client waits, whole or 1013",
    "C5": "a reader that never reads: let go with 1013, its response completes",
    "C6": "many of those at once: little memory for each, service goes on",
    "C7": "no pong: kept while any byte comes, let go in the end if none does",
    "C8": "a close frame amid a turn, whatever its code: echoed, then as if reset",
    "C9": "a second create on a busy lane: waits for the first, which notices nothing",
    "C10": "100 creates in one segment: 1 runs, 64 wait in order, 35 are refused; 8 MiB wait at "
    "most",
    "C11": "a create sent again with the same idempotency key: made once",
    "C12": "cancelled at every event, and in a race with the end: one end, the same for everybody",
    "C13": "cancelled over another server: the provider's connection closes within a second",
    "C14": "cancelled twice, after its end, by another key: unchanged, refused, 404",
    "C15": "deleted amid its stream: cancelled, then 404; the store knows that it was, no more",
    "C16": "any starting_after: the rest, or one clear error, never a 500",
    "C17": "500 followers of one response on 3 servers, joining at any time: all read the same",
    "C18": "following from the very moment of the end, 1,000 times: the end is always told",
    "C19": "a connection of its age, idle or busy: the error, then 1001; the turn can be read",
    "C20": "a chain on another connection, another server, after a restart of everything: goes on",
    "C21": "going on from what runs: 409; from what failed, was deleted, expired, is unknown or "
    "another key's: one and the same error",
    "C22": "two go on from one response at once: two children that know nothing of each other",
    "C23": "a chain of 1,000 turns: round trips for sixteen at a time",
    "C24": "10,000 idle connections and 100 streams: none dropped, memory within its budget",
    "C25": "10,000 reconnect at once: all are back soon, streams hardly notice",
    "C26": "connected and gone, again and again: descriptors, tasks and memory stay flat",
    "C27": "silent for 59 minutes but for its pongs: still connected",
    "C28": "the official SDK: connects, streams, resumes, reconnects, unpatched",
    "C29": "20 creates on 20 lanes, and a 33rd lane: 16 run, 4 wait in order, one is refused",
    # Bad input
    "B1": "the Autobahn cases 1 to 10: passed",
    "B2": "a frame header beyond the limit, up to 2^64 - 1: refused before any payload",
    "B3": "a message of twice the limit, whole or in fragments: the client is told 1009",
    "B4": "a message just below, at and above the limit: taken, taken, refused",
    "B5": "fragments without end, slow fragments, single bytes: closed in time, memory flat",
    "B6": "a deflate bomb: refused",
    "B7": "unmasked frames, reserved bits and opcodes, long or fragmented pings: 1002",
    "B8": "invalid UTF-8 of every kind: 1007",
    "B9": "close frames with bad codes or reasons: 1002 or 1007",
    "B10": "floods of pings, pongs and empty frames: 1008, no other client notices",
    "B11": "a binary message: one error, the connection lives",
    "B12": "JSON that is none, bottomless, huge or odd: one error, the connection lives",
    "B13": "every documented field with wrong types: the error names the field",
    "B14": "broken handshakes of every kind: 4xx, never an upgrade",
    "B15": "a request head byte by byte: closed, service unaffected",
    "B16": "a body byte by byte: 408 or closed, service unaffected",
    "B17": "ids that are paths, patterns, scripts or huge: 404, and the store never sees them",
    "B18": "line breaks in whatever could become a header: they never do",
    "B19": "huge or odd metadata: refused, or given back as JSON only",
    "B20": "random frames, events, cursors, configurations and streams: documented outcomes only",
    "B21": "odd subprotocols: refused or ignored, never logged",
    # Keys, secrets and strangers
    "S1": "another key on every route: the 404 of what never was, byte for byte",
    "S2": "every id that ever left the server, with another key: 404",
    "S3": "a record without an owner: 404 for every key",
    "S4": "no key, an empty or a wrong one: 401 before anything else",
    "S5": "foreign origins, null, look-alikes: 403",
    "S6": "a key in the query or the subprotocol: refused or accepted by configuration, never "
    "echoed, never logged",
    "S7": "addresses and keys in a request: no connection is ever made there",
    "S8": "links in the input: the bridge never opens one",
    "S9": "secrets in keys, prompts and errors: in no log, error, metric or key of the store",
    "S10": "many keys under load: none sees a word of another's",
    "S11": "what one connection remembers, asked on another: not found",
    "S12": "more connections, responses or creates than a key may have: 429, and room again after",
    "S13": "10,000 random ids: 404, nothing grows",
    "S14": "every key in the store: expires, and names no client key",
    "S15": "dependencies with known holes: not installed",
    "S16": "metrics and debugging: not open to strangers",
    "S17": "unstored responses: no command to the store knows of them",
    # Found by an attack
    "A1": "frozen beyond its lease with 60 ends on their way, and back: it asks the store first, "
    "and tells no end and no number that is another server's",
    "A2": "the store away, or a server cut off from it, as responses end: their ends wait, then "
    "are told, counted and logged as unconfirmed; deltas go on",
    "A3": "a lease index of another type, members that are no ids, a record or log that cannot be "
    "read: each is ended or set aside, one line, all others are settled",
    "A4": "a response or its store gone between being found and being replayed: its status, and "
    "never an empty 200",
    "A5": "10,000 seals that would unfold to a MiB each: one is unfolded, within bounds; forged "
    "ones are refused; others are served meanwhile",
    "A6": "conversations as large as they get: one call to the store is short whatever they hold, "
    "and a slow one is the caller's alone",
    "A7": "inputs, chains, followers, outputs and errors of any size: bounded for each connection, "
    "key and process",
    "A8": "an error of megabytes, a message of 64 MiB, 120,000 items: no other client waits",
    "A9": "a client that reads no answer: let go, whatever it has asked for",
    "A10": "a path, a query or a fragment in the place of a wildcard: model_not_found",
    "A11": "a provider's object with the bridge's fields, or with an output that is none: not told",
    "A12": "origins, hosts, keys, paths and errors that break parsers: 4xx, one line, no traceback",
    "A13": "a stored value that unfolds to 300 MB: unreadable, one log line, never more unfolded "
    "than a server could have written; a value that forges log fields: quoted; a head that cannot "
    "be read: never said back",
    "A14": "the store is read by an attacker: with a secret no name on which client keys can be "
    "tried out, with another one no content; what was written before is still its owner's",
}

# Those without a test of the suite, and why.
ELSEWHERE = {
    "B1": "by `make autobahn`: 0 of 301 cases failed",
    "C24": "by `make scale`",
    "C25": "by `make scale`",
    "C26": "by `make scale`",
    "S15": "the list of known holes is on the network: an audit is for the day of a release",
}

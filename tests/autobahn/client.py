"""Autobahn's fuzzing client on Python 3; runs in the environment that ``__main__`` builds.

``python client.py ws://127.0.0.1:PORT/path CASES SIDE_BY_SIDE`` prints a list of results.
Rule: the cases speak Python 2, where bytes are text; what goes to and comes from a case is latin-1.
"""

# ruff: noqa: N802, N803, ARG002 - names and arguments are autobahn's
# ruff: noqa: E402, I001 - it asks to be told of twisted before it is imported

import collections
import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import txaio

txaio.use_twisted()

import case
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from caseset import CaseSet
from twisted.internet import reactor

CASES = CaseSet(case.CaseSetname, case.CaseBasename, case.Cases, case.CaseCategories, [])
PATIENCES = ("openHandshakeTimeout", "closeHandshakeTimeout", "serverConnectionDropTimeout")


def to_wire(text):
    return text.encode("latin-1") if isinstance(text, str) else text


def to_case(raw):
    return raw.decode("latin-1") if isinstance(raw, bytes | bytearray) else raw


class Client(WebSocketClientProtocol):
    """One case's connection; names and calls are autobahn's."""

    def connectionMade(self):
        self.connectionWasOpen = self.createWirelog = False
        self.txFrameStats, self.rxFrameStats = collections.Counter(), collections.Counter()
        self.runCase, self.began = self.Case(self), time.monotonic()
        super().connectionMade()

    def enableWirelog(self, enabled):
        pass

    def logTxFrame(self, head, *_):
        self.txFrameStats[head.opcode] += 1

    def logRxFrame(self, head, *_):
        self.rxFrameStats[head.opcode] += 1

    def onOpen(self):
        self.connectionWasOpen = True
        self.runCase.onOpen()

    def onMessage(self, payload, is_binary):
        self.runCase.onMessage(to_case(payload), is_binary)

    def onPong(self, payload):
        self.runCase.onPong(to_case(payload))

    def onClose(self, *closed):
        self.runCase.onClose(*closed)

    def sendFrame(self, opcode, payload=b"", **more):
        if "mask" in more:
            more["mask"] = to_wire(more["mask"])
        super().sendFrame(opcode, payload=to_wire(payload), **more)

    def sendMessage(self, payload, isBinary=False, *more, **named):
        super().sendMessage(to_wire(payload), isBinary, *more, **named)

    def sendMessageFrameData(self, payload, *more, **named):
        return super().sendMessageFrameData(to_wire(payload), *more, **named)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, to_wire(reasonUtf8), isReply)

    def continueLater(self, delay, do, tag=None):
        reactor.callLater(delay, lambda: self.state != self.STATE_CLOSED and do())

    def killAfter(self, delay):
        self.continueLater(delay, self.failConnection)

    def closeAfter(self, delay):
        self.continueLater(delay, self.sendClose)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        ran = self.runCase
        ran.onConnectionLost(self.failedByMe)
        self.factory.done(
            behavior=ran.behavior,
            close=ran.behaviorClose,
            result=ran.result,
            result_close=ran.resultClose,
            code=self.remoteCloseCode,
            seconds=round(time.monotonic() - self.began, 3),
        )


class Factory(WebSocketClientFactory):
    """One case."""

    protocol = Client

    def __init__(self, url, Case, done):
        super().__init__(url)
        self.Case, self._done, self.logFrames = Case, done, True
        # Its own patience is one second: too short where it masks 16 MiB in Python meanwhile.
        patience = dict.fromkeys(PATIENCES, 30)
        self.setProtocolOptions(failByDrop=False, **patience)

    def done(self, **result):
        self._done({"id": CASES.caseClasstoId(self.Case), **result})

    def buildProtocol(self, address):
        client = super().buildProtocol(address)
        client.Case = self.Case
        return client

    def clientConnectionFailed(self, connector, reason):
        self.done(behavior="FAILED", close="FAILED", result=f"connect: {reason.value}")


class Run:
    """All cases, so many at once."""

    def __init__(self, url, ids, side_by_side):
        self._url, self._ids, self._most = url, collections.deque(ids), side_by_side
        self._running, self.results = 0, []

    def go_on(self):
        while self._ids and self._running < self._most:
            self._running += 1
            connectWS(Factory(self._url, CASES.CasesById[self._ids.popleft()], self._done))
        if not self._ids and not self._running:
            reactor.stop()

    def _done(self, result):
        self.results.append(result)
        self._running -= 1
        reactor.callLater(0, self.go_on)


if __name__ == "__main__":
    url, cases, side_by_side = sys.argv[1:]
    wanted = {"cases": cases.split(","), "exclude-cases": []}
    run = Run(url, CASES.parseSpecCases(wanted), int(side_by_side))
    reactor.callWhenRunning(run.go_on)
    reactor.run()
    json.dump(run.results, sys.stdout)

"""The budgets of clients: what each name has spent, as far as this process knows.

Rule 1: a create is checked before it begins. What runs goes on, so a name may overrun its budget by
what it has running.
Rule 2: the view is read at the start and again every few seconds, beside the requests; what this
process books counts at once. While the store is away the last view holds.
Rule 3: days are UTC days, today included.
Rule 4: a model without a price would be free, so a name with a budget cannot ask for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ws_bridge.clock import Clock
from ws_bridge.config import KeyRules
from ws_bridge.errors import InsufficientQuota, ModelNotFound, StoreUnavailable
from ws_bridge.pacing import first_of
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.store.base import Store
from ws_bridge.store.ledger import Booking, day_of, days_until

log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
SHARE = 50  # of the time, at most one part is spent on reading
PAST_SECONDS = 300.0  # days before the last two hardly change: they are read again after this
RECENT_DAYS = 2
FIRST_READ_SECONDS = 5.0  # a create waits for the first view of its name
BILLION = 10**9


class Spending:
    """What the names with a budget have spent. ``run`` is its task's body; its owner awaits it.

    ``is_priced`` tells whether all that may answer for a model has a price.
    """

    def __init__(
        self,
        store: Store,
        rules: ClientRules,
        clock: Clock,
        *,
        is_priced: Callable[[str], bool],
        limit_reached: Callable[[str], None],
    ) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock
        self._is_priced = is_priced
        self._limit_reached = limit_reached
        self._opened = asyncio.Event()  # set: the models that can be asked for have prices
        self._changed = asyncio.Event()
        self._refreshed = asyncio.Event()  # replaced by each refresh
        self._view: dict[str, dict[str, int]] = {}  # by name and day, in billionths of a USD
        self._known: frozenset[str] = frozenset()  # names that were read, or tried to
        self._read_at: tuple[float, str] | None = None  # when all days were read, and on which
        self._own: Counter[str] = Counter()  # booked since the last read began
        self._before: Counter[str] = Counter()  # booked before it

    def open(self) -> None:
        """The models' prices are known, and none is missing that is needed."""
        self._opened.set()

    def changed(self) -> None:
        """Budgets have changed: other names may have one."""
        self._changed.set()

    def add(self, booking: Booking) -> None:
        """This process has booked something."""
        if booking.key in self._rules.limited():
            self._own[booking.key] += booking.nano_usd

    async def check(self, owner: str, model: str) -> None:
        """Raise ``InsufficientQuota`` if the budget of an owner's name is used up.

        Raises ``ModelNotFound`` for a model without a price. An owner without a budget never waits.
        """
        rules = self._rules.of(owner)
        if rules.budget_usd is None:
            return
        await self._opened.wait()
        if not self._is_priced(model):
            log.warning("unpriced_model: a name with a budget asked for it")
            raise ModelNotFound(model)
        name = self._rules.name_of(owner)
        await self._wait_for_view(name)
        rules = self._rules.of(owner)
        if rules.budget_usd is not None and self.spent(name, rules.budget_days) >= round(
            rules.budget_usd * BILLION
        ):
            self._limit_reached("budget_usd")
            usd, days = rules.budget_usd, rules.budget_days
            raise InsufficientQuota(
                f"The budget of this key is used up: {usd:g} USD for {days} days, today included."
            )

    def spent(self, name: str, days: int) -> int:
        """What a name has spent on the last days, in billionths of a USD."""
        first = days_until(day_of(self._clock.wall()), days)[0]
        read = sum(nano for day, nano in self._view.get(name, {}).items() if day >= first)
        return read + self._own[name] + self._before[name]

    async def run(self) -> None:
        """Refresh the view every few seconds, and at once when budgets change."""
        while True:
            self._changed.clear()
            began = self._clock.monotonic()
            await self._refresh(self._rules.limited())
            took = self._clock.monotonic() - began
            pause = self._clock.sleep(max(REFRESH_SECONDS, SHARE * took))
            await first_of(self._changed.wait(), pause)

    async def _wait_for_view(self, name: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READ_SECONDS):
                while name not in self._known:
                    await self._refreshed.wait()

    async def _refresh(self, rules: Mapping[str, KeyRules]) -> None:
        names = sorted(rules)
        if names:
            self._before += self._own
            self._own = Counter()
            try:
                await self._read(names, max(one.budget_days for one in rules.values()))
                self._before = Counter()  # the store had it before it was asked
            except StoreUnavailable:
                pass
            except Exception:  # the edge of the task
                log.exception("spending_crashed")
        self._known = frozenset(names)
        self._refreshed.set()
        self._refreshed = asyncio.Event()

    async def _read(self, names: Sequence[str], days: int) -> None:
        today, now = day_of(self._clock.wall()), self._clock.monotonic()
        is_new = self._read_at is None or self._read_at[1] != today or set(names) - self._known
        if is_new or (self._read_at and now - self._read_at[0] >= PAST_SECONDS):
            found = await self._store.read_spent(days, names)
            self._view = {name: dict(spent) for name, spent in found.items()}
            self._read_at = now, today
            return
        for name, spent in (await self._store.read_spent(RECENT_DAYS, names)).items():
            self._view.setdefault(name, {}).update(spent)

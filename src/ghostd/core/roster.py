"""Who is there: the records of a pool's spirits, the seats they hold, and how many of each kind there are."""

from __future__ import annotations

import heapq

from ghostd.core.phases import SERVING, Generation, Phase, Record, SpiritId
from ghostd.hints import TYPE_CHECKING
from ghostd.record import Mutable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Tally(Mutable):
    """The spirits counted: of the generation that is wanted, of others, and those that leave."""

    coming: int = 0  # wanted generation: ordered or booting
    ready: int = 0  # wanted generation
    stale: int = 0  # another generation: ordered or booting
    old: int = 0  # another generation: ready
    leaving: int = 0

    @property
    def new(self) -> int:
        """All that hold a place of the wanted generation."""
        return self.coming + self.ready

    @property
    def all_ready(self) -> int:
        """All that work, of whatever generation."""
        return self.ready + self.old

    @property
    def living(self) -> int:
        """All that count for the spare rule: not the silent, killed and lost, whose seats were refilled."""
        return self.coming + self.ready + self.stale + self.old + self.leaving


class Roster:
    """The records by serial. A seat is held from the order to spawn until the burial; the lowest free one is next."""

    def __init__(self) -> None:
        self._records: dict[SpiritId, Record] = {}
        self._serial = 0
        self._free_seats: list[int] = []  # a heap
        self._seats = 0

    def __iter__(self) -> Iterator[Record]:
        """All records; the roster may change meanwhile."""
        return iter(list(self._records.values()))

    def __getitem__(self, spirit: SpiritId) -> Record:
        return self._records[spirit]

    def get(self, spirit: SpiritId) -> Record | None:
        """The record, or None once the spirit is gone."""
        return self._records.get(spirit)

    def enter(self, generation: Generation, streak: int) -> Record:
        """A new spirit, with a serial and a seat."""
        self._serial += 1
        if self._free_seats:
            seat = heapq.heappop(self._free_seats)
        else:
            seat, self._seats = self._seats, self._seats + 1
        record = Record(SpiritId(self._serial), seat, generation, streak)
        self._records[record.spirit] = record
        return record

    def leave(self, record: Record) -> None:
        """The spirit is gone: its seat is free."""
        assert record.phase is Phase.GONE, "only the gone give up their seat"
        del self._records[record.spirit]
        heapq.heappush(self._free_seats, record.seat)

    def overdue(self, now: float) -> list[Record]:
        """Those whose phase has lasted for too long."""
        return [record for record in self._records.values() if record.due <= now]

    def tally(self, generation: Generation) -> Tally:
        """Counts come from the thing counted, each time anew."""
        tally = Tally()
        working, leaving = Phase.READY, Phase.LEAVING  # looked up once: a member of an Enum is slow to reach in 3.11
        for record in self._records.values():
            phase = record.phase
            if phase is leaving:
                tally.leaving += 1
            elif phase in SERVING:
                ready = phase is working
                if record.generation == generation:
                    tally.ready += ready
                    tally.coming += not ready
                else:
                    tally.old += ready
                    tally.stale += not ready
        return tally

"""What a pool promises, each in a sentence that holds, and what is raised when one does not.

Rule: a new promise is a line here, a check in ``check.py`` and a sabotage in tests/sim that the check finds.
"""

from enum import Enum


class Promise(Enum):
    """The name is what a failure prints; the value is what must hold."""

    SOUND = "the pool takes every history without an exception"
    SEAT = "a seat is held by one spirit until it is buried"
    SERIAL = "serials rise and are never used again"
    ROOM = "no spirit is made beyond wanted + spare, not counting the silent, killed and lost"
    REST = "outside of a reload no more are made than make up for those that leave"
    LIVING = "only a spirit that is alive is asked, roused, killed or abandoned"
    LADDER = "each step against a spirit comes once and never backwards"
    BURIAL = "every process that ends is buried once, and nothing else is"
    CAPACITY = "no working spirit is asked to leave for a reload or a smaller pool below the wanted number"
    GENERATION = "a spirit is made of the generation that is wanted"
    RELOAD = "at most one reload runs and one waits, and it ends in the new generation or in the old one"
    RECYCLE = "only the worn are recycled, one at a time, each when another one makes up for it"
    NO_FALSE_ALARM = "no spirit that beats in time, counted while it and the manager ran, is found silent"
    PATIENCE = "no spirit is roused, killed or abandoned before its time is over"
    FOUND = "whoever has outstayed its phase is found at its limit plus the credit given"
    BACKOFF = "a crash loop is slowed down"
    GIVE_UP = "a pool that is told to give up does so when nobody was ready for so long"
    STOP_FIRST = "nothing is made once a stop has begun to ask spirits to leave"
    DRAIN = "asked to stop, the pool serves on for the drain delay, and then asks everybody to leave"
    STOP_BOUND = "a stop ends within its limit and a second"
    HALT = "the end comes once, when nothing living is left, and nothing comes after it"
    CODE = "the exit code tells the truth, and without a reason there is no end"
    BOOT = "an early death before the pool was ever whole ends the ghost"
    DEADLINE = "the deadline is no later than the first limit that runs out"
    PROGRESS = "handling at the deadline moves the deadline"
    COUNTS = "the counts that are kept are those of the spirits counted anew"
    SNAPSHOT = "a snapshot agrees with what has happened"
    KEPT = "a request in hand is dropped only by a crash, by a stranger, or when the time that a spirit has is over"
    QUEUE = "what waits in the queue survives every spirit, stop and reload"
    SERVED = "once the faults stop, whatever waits is served within a bound"
    WHOLE = "once the faults stop, the pool is whole within a bound"


class Violation(AssertionError):
    """A promise that was broken, how, and, once its world has said so, where."""

    def __init__(self, promise: Promise, detail: object) -> None:
        super().__init__(promise, detail)
        self.promise = promise
        self.detail = str(detail)
        self.place = ""
        self.events: list[str] = []

    def __str__(self) -> str:
        line = f"{self.place}{self.promise.name}: {self.promise.value}: {self.detail}"
        return "\n".join([line, *self.events])


def demand(holds: bool, promise: Promise, detail: object = "") -> None:  # noqa: FBT001  reads as a sentence
    """Raise unless it holds."""
    if not holds:
        raise Violation(promise, detail)

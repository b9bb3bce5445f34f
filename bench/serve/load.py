"""Load on a server, from a process of its own: the client that counts every loss, or wrk.

python -m bench.serve.load ADDRESS RATE CONNECTIONS KEEP        asks until standard input ends
"""

from __future__ import annotations

import json
import re
import select
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.pools import ROOT, CannotMeasureError
from bench.serve import BODY
from bench.serve.client import TIMEOUT, Client, Outcome

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from bench.serve.client import Address

CONNECTIONS = 16
FOR_EVER = 1e9
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_WRK_SAYS = r"99%\s+([\d.]+)(us|ms|s)\b.*Requests/sec:\s+([\d.]+)"


class Load:
    """Requests at a fixed rate, or as fast as answers come, in the block; what became of them after it."""

    def __init__(
        self, address: Address, rate: float, *, keep_alive: bool = True, connections: int = CONNECTIONS
    ) -> None:
        self.outcome = Outcome()
        words = [json.dumps(address), str(rate), str(connections), str(int(keep_alive))]
        self._words = [sys.executable, "-m", "bench.serve.load", *words]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "begun\n":
            raise CannotMeasureError("the client did not begin")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        told, _ = self._process.communicate("", timeout=3 * TIMEOUT)  # the end of its input is what it stops at
        if kind is None:
            answered, failed, latencies, closes, numbers = json.loads(told)
            self.outcome = Outcome(answered, Counter(failed), latencies, closes=closes, numbers=numbers)


@dataclass(frozen=True, slots=True)
class Speed:
    """What wrk has found."""

    rate: float  # requests a second
    p99: float  # milliseconds
    errors: str


def wrk(address: Address, seconds: float, connections: int = 64) -> Speed:
    """Ask as fast as answers come, on connections that stay."""
    if shutil.which("wrk") is None:
        raise CannotMeasureError("wrk is not on the PATH")
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}", "--latency", f"http://{address[0]}:{address[1]}/"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    found = re.search(_WRK_SAYS, said, re.DOTALL)
    if found is None:
        raise CannotMeasureError(f"wrk: {said}")
    errors = " ".join(re.findall(r"^\s*(Socket errors.*|Non-2xx.*)$", said, re.MULTILINE))
    return Speed(float(found[3]), float(found[1]) * _UNITS[found[2]], errors)


def main() -> None:
    """Ask until standard input ends."""
    where, rate, connections, keep = sys.argv[1:]
    told = json.loads(where)
    address = told if isinstance(told, str) else (told[0], told[1])
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    client = Client(address, connections=int(connections), keep_alive=bool(int(keep)), has_numbers=True)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    outcome = client.run(seconds=FOR_EVER, rate=float(rate) or None, until=lambda: bool(poll.poll(0)))
    wrong = sum(count for body, count in outcome.bodies.items() if body != BODY)
    if wrong:
        outcome.failed["wrong body"] = wrong
        outcome.answered -= wrong
    json.dump([outcome.answered, outcome.failed, outcome.latencies, outcome.closes, outcome.numbers], sys.stdout)


if __name__ == "__main__":
    main()

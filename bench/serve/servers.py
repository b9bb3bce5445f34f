"""The servers under measurement, as data, and what runs one: started, asked until it answers, signalled, ended.

A spirit here is a process that has loaded the application and whose parent is the command: so helpers of a server do
not count, and no server is asked how it is doing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import procs
from bench.pools import NANO, CannotMeasureError, Pool, Task
from bench.serve import MARKS, MOST_MARKS, RACK, SPIRITS
from bench.serve.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bench.harness import Bench
    from bench.serve.client import Address

LIMIT = 30.0
APART_SECONDS, STILL = 0.05, 2.0  # between two signals; what has not changed for so long waits for one
WORD = 4  # bytes of a mark
REST, QUIET = 0.3, 0.1  # seconds, and the part of them that a server which does nothing may compute
GHOSTD = "{python} -m ghostd {verb} --spirits {size} --listen {place} --server "
STREAM = "{python} -m ghostd run bench.serve.streams:Stream --spirits {size} --listen {place}"
GUNICORN = "{python} -m gunicorn -w {size} -b {place} "
UVICORN = "{python} -m uvicorn bench.serve.apps:{app} {workers} --no-access-log --log-level warning {place}"
GRANIAN = "{python} -m granian --workers {size} --no-ws --respawn-failed-workers {place} bench.serve.apps:{app}"
ALONE = "{python} -m bench.serve.alone {place}"
APART = "--host 127.0.0.1 --port {port}", "--uds {path}"  # host and port are options of their own


@dataclass(frozen=True, slots=True)
class Server:
    """One server: how it is started, where it takes its address, what it can do."""

    name: str
    app: str  # of bench.serve.apps; the interface
    command: str
    tcp: str = "127.0.0.1:{port}"
    unix: str = "unix:{path}"
    fd: str = ""  # how it is given a listener that is open
    needs: str = ""  # a package or a program
    is_single: bool = False  # one process, whatever is wanted
    reloads: bool = True  # by HUP
    scales: bool = True  # by TTIN and TTOU
    recycle: str = ""  # the option for so many requests a life

    @property
    def label(self) -> str:
        """The name in a table."""
        return f"{self.name}, {self.app}"

    @property
    def is_ours(self) -> bool:
        """Whether ghostd is the manager."""
        return self.name.startswith("ghostd")

    @property
    def is_here(self) -> bool:
        """Whether it is installed."""
        return not self.needs or bool(importlib.util.find_spec(self.needs) or shutil.which(self.needs))


def _ghostd(server: str, app: str) -> Server:
    command = GHOSTD.format(verb="serve bench.serve.apps:{app}", python="{python}", size="{size}", place="{place}")
    return Server(
        f"ghostd/{server}", app, command + server, fd="fd:{fd}", needs=server, recycle="--max-requests {count}"
    )


OURS = (
    _ghostd("uvicorn", "asgi"),
    _ghostd("waitress", "wsgi"),
    Server("ghostd/stream", "stream", STREAM, fd="fd:{fd}", recycle="--max-requests {count}"),
    _ghostd("granian", "asgi"),
    _ghostd("hypercorn", "asgi"),
    _ghostd("granian", "wsgi"),
    _ghostd("cheroot", "wsgi"),
)
BARE = tuple(  # no peer: the least that a reload can take
    Server("bare", app, "{python} -m bench.serve.plain {place} {size} " + app) for app in ("asgi", "wsgi", "stream")
)
PEERS = (
    Server(
        "uvicorn", "asgi", UVICORN, *APART, fd="--fd {fd}", needs="uvicorn", recycle="--limit-max-requests {count}"
    ),
    Server(
        "gunicorn/uvicorn", "asgi", GUNICORN + "-k uvicorn_worker.UvicornWorker bench.serve.apps:{app}",
        needs="uvicorn_worker", recycle="--max-requests {count}",
    ),
    Server("granian", "asgi", GRANIAN + " --interface asgi", *APART, needs="granian", scales=False),
    Server(
        "hypercorn", "asgi", "{python} -m hypercorn -w {size} -b {place} bench.serve.apps:{app}",
        needs="hypercorn", reloads=False, scales=False,
    ),
    Server(
        "gunicorn/sync", "wsgi", GUNICORN + "bench.serve.apps:{app}",
        needs="gunicorn", recycle="--max-requests {count}",
    ),
    Server(
        "gunicorn/gthread", "wsgi", GUNICORN + "-k gthread --threads 4 bench.serve.apps:{app}",
        needs="gunicorn", recycle="--max-requests {count}",
    ),
    Server(
        "waitress", "wsgi", "{python} -m waitress --listen={place} bench.serve.apps:{app}",
        needs="waitress", is_single=True, reloads=False, scales=False,
    ),
    Server(
        "cheroot", "wsgi", "{python} -m cheroot bench.serve.apps:{app} --bind {place}",
        unix="{path}", needs="cheroot", is_single=True, reloads=False, scales=False,
    ),
    Server("granian", "wsgi", GRANIAN + " --interface wsgi", *APART, needs="granian", scales=False),
    Server("bjoern", "wsgi", ALONE, "bjoern {port}", needs="bjoern", is_single=True, reloads=False, scales=False),
    Server("fastwsgi", "wsgi", ALONE, "fastwsgi {port}", needs="fastwsgi", is_single=True, reloads=False, scales=False),
    Server("unicorn", "rack", "unicorn -l {place} -c {folder}/unicorn.rb {folder}/config.ru", unix="{path}",
           needs="unicorn"),
)  # fmt: skip


def chosen(bench: Bench, quick: Collection[str]) -> list[Server]:
    """Return those that are installed and were asked for; if none was, all, or in the quick form a few."""
    names = bench.servers or (quick if bench.quick else ())
    return [one for one in (*OURS, *PEERS) if one.is_here and (not names or one.name in names)]


def here(*apps: str) -> tuple[list[Server], list[Server]]:
    """Return ours and the peers that serve such an application and are installed."""
    ours, peers = ([one for one in side if one.is_here and one.app in apps] for side in (OURS, PEERS))
    return ours, peers


@dataclass(frozen=True, slots=True)
class How:
    """How a server is to be run."""

    size: int = 2
    is_unix: bool = False
    is_inherited: bool = False  # the listener was opened before, by somebody else
    is_marked: bool = False
    recycle: int = 0
    more: str = ""  # for ghostd


class Served(Pool):
    """A server that answers in the block."""

    side = "server"

    def __init__(self, server: Server, how: How | None = None) -> None:
        super().__init__(Task(0))
        self.server = server
        self.how = how or How()
        self.size = 1 if server.is_single else self.how.size
        self.address: Address = str(self.folder / "socket") if self.how.is_unix else ("127.0.0.1", _free_port())
        self._listener = _listener() if self.how.is_inherited else None
        if self._listener is not None:
            self.address = self._listener.getsockname()

    def command(self) -> list[str]:
        """Return the command that starts the server."""
        server, how = self.server, self.how
        place = server.fd if how.is_inherited else server.unix if how.is_unix else server.tcp
        words = {
            "python": sys.executable, "size": self.size, "folder": self.folder, "path": self.folder / "socket",
            "port": self.address[1], "app": f"marked_{server.app}" if how.is_marked else server.app,
            "fd": self._listener.fileno() if self._listener else "", "count": how.recycle,
            "workers": f"--workers {self.size}" if self.size > 1 else "",
        }  # fmt: skip
        words["place"] = place.format(**words)
        text = " ".join((server.command, server.recycle if how.recycle else "", how.more if server.is_ours else ""))
        return text.format(**words).split()

    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        return {**super().environment(), "BENCH_FOLDER": str(self.folder)}

    def inherited(self) -> tuple[int, ...]:
        """Return the descriptors that the command is given."""
        return (self._listener.fileno(),) if self._listener else ()

    def prepare(self) -> None:
        """Make the place where spirits enrol."""
        super().prepare()
        (self.folder / SPIRITS).mkdir()
        with (self.folder / MARKS).open("xb") as marks:
            marks.truncate(MOST_MARKS * WORD)
        (self.folder / "config.ru").write_text(RACK, "utf-8")
        (self.folder / "unicorn.rb").write_text(f"worker_processes {self.size}\nlogger Logger.new($stderr)\n", "utf-8")

    def settle(self) -> None:
        """Wait until it is whole and answers."""
        self.wait_until(lambda: len(self.living()) == self.size, f"{self.size} spirits")
        self.wait_until(self._answers, "answer")
        self.wait_until(self._is_quiet, "rest")  # all have booted, not only the one that has answered

    def living(self) -> set[int]:
        """Return the pids of its spirits."""
        found = set()
        for name in os.listdir(self.folder / SPIRITS):
            try:
                one = procs.look(int(name))
            except (FileNotFoundError, ProcessLookupError):
                (self.folder / SPIRITS / name).unlink(missing_ok=True)
                continue
            if one.state not in "ZX" and self.manager in ((one.pid, one.parent) if self.size == 1 else (one.parent,)):
                found.add(one.pid)
        return found

    def wait_until(self, condition: Callable[[], bool], what: str, limit: float = LIMIT) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + limit
        while not condition():
            self._check_process()
            if time.monotonic() > deadline:
                raise CannotMeasureError(f"{self.server.label}: no {what} in {limit:g} s; {self.said()}")
            time.sleep(0.005)

    def wait_renewed(self, old: set[int]) -> None:
        """Wait until it is whole and has none of these."""
        self.wait_until(
            lambda: len(new := self.living()) == self.size and not new & old, f"{self.size} new spirits", 2 * LIMIT
        )

    def scale(self, size: int) -> None:
        """Have so many spirits, by a signal for each; two that wait are one, so what is missing is sent again."""
        wanted, self.size = size - self.size, size
        for _ in range(abs(wanted)):
            os.kill(self.manager, signal.SIGTTIN if wanted > 0 else signal.SIGTTOU)
            time.sleep(APART_SECONDS)
        had, since = -1, time.monotonic()
        deadline = since + LIMIT
        while (have := len(self.living())) != size:
            now = time.monotonic()
            if have != had:
                had, since = have, now
            elif now - since > STILL:
                os.kill(self.manager, signal.SIGTTIN if have < size else signal.SIGTTOU)
                since = now
            if now > deadline:
                raise CannotMeasureError(
                    f"{self.server.label}: {have} spirits, not {size}, in {LIMIT:g} s; {self.said()}"
                )
            time.sleep(0.02)

    def beginner(self, number: int) -> int:
        """Return the pid of the spirit whose handler has begun this request; 0 if none has."""
        with (self.folder / MARKS).open("rb") as marks:
            marks.seek(number * WORD)
            return int.from_bytes(marks.read(WORD), sys.byteorder)

    def close(self) -> None:
        """End it, and the listener."""
        super().close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _answers(self) -> bool:
        return Client(self.address, connections=1).run(requests=1).answered == 1

    def _is_quiet(self) -> bool:
        pids = {self.manager, *self.living()}
        before = sum(map(procs.cpu_ns, pids))
        time.sleep(REST)
        return sum(map(procs.cpu_ns, pids)) - before < QUIET * REST * NANO


def _free_port() -> int:
    with _listener() as sock:
        port: int = sock.getsockname()[1]
    return port


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=2048)

"""The managers of the peers, each a program that keeps N workers which do what ghostd's spirits do in the benchmark.

Run in a process of its own: ``python -c 'from bench.rivals import gunicorn; gunicorn(64, 5.0, FOLDER)'``. Each import
stands in its function: what is not installed is not compared with.
"""

import multiprocessing
import multiprocessing.connection
import os
import sys

from bench.witness import Witness
from bench.work import always, collecting, load, steady


def process_pool(size: int, period: float, folder: str) -> None:
    """Keep N processes of multiprocessing, the way a program does by hand."""
    context = multiprocessing.get_context("fork")

    def begin() -> multiprocessing.process.BaseProcess:
        process = context.Process(target=steady, args=(always, Witness(folder), period))
        process.start()
        return process

    processes = {process.sentinel: process for process in (begin() for _ in range(size))}
    while True:
        for sentinel in multiprocessing.connection.wait(list(processes)):
            processes.pop(sentinel).join()  # type: ignore[arg-type]
            new = begin()
            processes[new.sentinel] = new


def gunicorn(size: int, period: float, folder: str) -> None:
    """Run gunicorn with a worker class that serves nothing and notifies once a period."""
    from gunicorn.app.base import BaseApplication  # noqa: PLC0415  may be missing
    from gunicorn.workers.base import Worker  # noqa: PLC0415  may be missing

    class Noop(Worker):  # type: ignore[misc]
        def run(self) -> None:
            steady(self.beat, Witness(folder), period)

        def beat(self) -> bool:
            self.notify()
            return bool(self.alive)

    class Program(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            settings = {"workers": size, "worker_class": Noop, "bind": f"unix:{folder}/socket", "loglevel": "error"}
            for name, value in settings.items():
                self.cfg.set(name, value)
            if "control_socket" in self.cfg.settings:  # it starts a thread, which no other side has
                self.cfg.set("control_socket_disable", True)

        def load(self) -> object:
            return lambda _environ, _respond: []

    Program().run()


def gunicorn_preloaded(size: int, period: float, folder: str) -> None:
    """Run gunicorn with --preload and an application that holds a model."""
    from gunicorn.app.base import BaseApplication  # noqa: PLC0415  may be missing
    from gunicorn.workers.base import Worker  # noqa: PLC0415  may be missing

    class Holder(Worker):  # type: ignore[misc]
        def run(self) -> None:
            collecting(self.beat, Witness(folder), period)

        def beat(self) -> bool:
            self.notify()
            return bool(self.alive)

    class Program(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            address = f"unix:{folder}/socket"
            settings = {"workers": size, "worker_class": Holder, "bind": address, "preload_app": True, "timeout": 120}
            for name, value in settings.items():
                self.cfg.set(name, value)
            if "control_socket" in self.cfg.settings:  # as above
                self.cfg.set("control_socket_disable", True)

        def load(self) -> object:
            self.model = load(float(os.environ["BENCH_MB"]))
            return lambda _environ, _respond: []

    Program().run()


def cotyledon(size: int, period: float, folder: str) -> None:
    """Run a service of cotyledon that does nothing."""
    import cotyledon as library  # noqa: PLC0415  may be missing

    class Noop(library.Service):  # type: ignore[misc]
        def run(self) -> None:
            steady(always, Witness(folder), period)

    manager = library.ServiceManager()
    manager.add(Noop, workers=size)
    manager.run()


def circus(size: int, period: float, folder: str) -> None:
    """Run circus over programs that are executed, not forked: the way it works."""
    from circus import get_arbiter  # noqa: PLC0415  may be missing

    code = f"from bench.rivals import member; member({period!r}, {folder!r})"
    watcher = {
        "name": "members", "cmd": sys.executable, "args": ["-c", code], "numprocesses": size, "copy_env": True,
        "env": {"PYTHONPATH": os.environ["PYTHONPATH"]},
    }  # fmt: skip
    ends = {name: f"ipc://{folder}/{name}" for name in ("controller", "pubsub_endpoint")}
    get_arbiter([watcher], **ends, loglevel="error").start()


def member(period: float, folder: str) -> None:
    """Be a worker of circus."""
    steady(always, Witness(folder), period)

"""A model that is loaded once and shared: 300 MB of Python objects, eight spirits that answer from it over HTTP.

Run:   pip install 'ghostd[wsgi]'; python examples/model_server.py start
       curl 'http://127.0.0.1:8080/?word=word7'; curl http://127.0.0.1:8080/memory
Seen:  /memory shows what each process has for itself and what it shares; the sum of PSS stays near the model's size,
       also after /collect, a full garbage collection: ghostd froze what ``init`` loads. GHOSTD_FREEZE=no shows why.
       The same table from the shell: python examples/model_server.py memory
"""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ghostd import Server

MODEL_MB = float(os.environ.get("MODEL_MB", "300"))
MODEL: dict[str, dict[str, Any]] = {}


class ModelServer(Server):
    name = "model_server"
    logfile = "model_server.log"
    listen = "127.0.0.1:8080"
    spirits = 8

    def init(self) -> None:
        before, count = memory_of(os.getpid())["Rss"], 0
        while count % 2000 or memory_of(os.getpid())["Rss"] - before < MODEL_MB:
            near = [f"word{count - 1}", f"word{count + 1}"]
            MODEL[f"word{count}"] = {"rank": count, "score": count * 0.5, "near": near}
            count += 1


def answer(environ: dict[str, Any], respond: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/memory":
        text = memory(os.getppid()) + "\n"
    elif environ["PATH_INFO"] == "/collect":
        text = f"spirit {os.getpid()}: {gc.collect()} objects were garbage\n"
    else:
        text = json.dumps(MODEL.get(environ["QUERY_STRING"].removeprefix("word="))) + "\n"
    respond("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


def memory(manager: int) -> str:
    rows = [(pid, memory_of(pid)) for pid in (manager, *children_of(manager))]
    lines = [f"{'':8} {'pid':>8} {'private':>9} {'shared':>9} {'PSS':>9}   in MB"]
    for pid, of in rows:
        role = "manager" if pid == manager else "spirit"
        lines.append(f"{role:8} {pid:8} {of['Private']:9.2f} {of['Shared']:9.2f} {of['Pss']:9.2f}")
    return "\n".join([*lines, f"{'sum':37} {sum(of['Pss'] for _, of in rows):9.2f}"])


def memory_of(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    amounts = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    for name in ("Private", "Shared"):
        amounts[name] = amounts[f"{name}_Clean"] + amounts[f"{name}_Dirty"]
    return amounts


def children_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            if path.read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(path.parent.name))
    return sorted(found)


if __name__ == "__main__":
    server = ModelServer(answer)
    if sys.argv[1:] == ["memory"]:
        sys.exit(print(memory(server.status())) if server.status() else "Not running")
    sys.exit(server.ctrl(sys.argv[1:]))

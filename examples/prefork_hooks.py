"""A pool with every hook, each of which prints in which process it runs.

Run:   python examples/prefork_hooks.py run      (Ctrl-C stops it; ``start`` prints the same into prefork_hooks.log)
Seen:  preinit init startup, spawn for each spirit, then waitup and heartbeat every second; kill a spirit, and reap and
       spawn follow; ``reload`` calls hangup; at the end finish, reap for each spirit, and cleanup.
"""

import os
import sys
import time

from ghostd import Exit, Prefork


def say(text: str) -> None:
    print(f"pid {os.getpid()}: {text}", flush=True)  # a detached daemon's standard output goes to its log


class Hooks(Prefork):
    name = "prefork_hooks"
    logfile = "prefork_hooks.log"
    spirits = 2
    heartbeat_interval = 1.0  # how often waitup and heartbeat are called; only because they are here they cost anything

    def preinit(self) -> None:
        say("preinit: in the starter, before the fork")

    def init(self) -> None:
        say("init: in the daemon, before the pool")

    def startup(self) -> None:
        say("startup: the pool runs in here")
        super().startup()
        say("startup: the pool has ended")

    def spawn(self, pid: int) -> None:
        say(f"spawn: spirit with pid {pid} was forked")

    def spirit(self) -> None:
        say(f"spirit: serial {self.serial} on seat {self.seat} begins")
        while self.tick():
            time.sleep(0.2)
        say(f"spirit: serial {self.serial} leaves")

    def waitup(self) -> None:
        say(f"waitup: {self.healthy} spirits are healthy")

    def heartbeat(self, pid: int) -> None:
        say(f"heartbeat: spirit with pid {pid} lives")

    def reap(self, pid: int, status: Exit | None = None) -> None:
        say(f"reap: spirit with pid {pid} ended by {status}")

    def hangup(self) -> None:
        say("hangup: a reload is asked for")
        super().hangup()

    def finish(self, graceful: bool) -> None:  # noqa: FBT001  the hook is called so
        say(f"finish: a {'graceful' if graceful else 'immediate'} shutdown begins")

    def cleanup(self, scope: int) -> None:
        say(f"cleanup: {'interrupted' if scope else 'a normal end'}")


if __name__ == "__main__":
    sys.exit(Hooks().ctrl(sys.argv[1:]))

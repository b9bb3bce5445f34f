"""A daemon of one process, without a pool: the body of the ghost is ``startup``.

Run:   python examples/simple.py start      (then status, restart, stop; ``run`` stays in the foreground)
Seen:  simple.log gets a line a second; ``stop`` ends the daemon within one, and the last line says so.
"""

import sys
import time

from ghostd import Ghost


class Simple(Ghost):
    name = "simple"
    logfile = "simple.log"

    def init(self) -> None:
        self.log.info("init: in the daemon, once")

    def startup(self) -> None:
        count = 0
        while self.ok:  # until a stop is asked for
            count += 1
            self.log.info(f"still here, {count} times")
            time.sleep(1)

    def cleanup(self, scope: int) -> None:
        self.log.info(f"cleanup: {'interrupted' if scope else 'a normal end'}")


if __name__ == "__main__":
    sys.exit(Simple().ctrl(sys.argv[1:]))

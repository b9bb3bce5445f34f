"""The smallest pool: four processes that do the same, and are kept four.

Run:   python examples/prefork_minimal.py start
Seen:  prefork_minimal.log has lines of four pids; kill one of them, and another takes its seat at once.
"""

import sys
import time

from ghostd import Prefork


class Minimal(Prefork):
    name = "prefork_minimal"
    logfile = "prefork_minimal.log"

    def spirit(self) -> None:
        while self.tick():
            self.log.info(f"at work on seat {self.seat}")
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(Minimal().ctrl(sys.argv[1:]))

"""The first example of the README, as it stands there.

Run:   python examples/clock.py start
Seen:  clock.log has a line a second of each of four spirits; ``stop`` returns when they have left.
"""

import sys
import time

from ghostd import Prefork


class Clock(Prefork):
    def spirit(self) -> None:  # runs in each of the spirits, a process of its own
        while self.tick():  # a heartbeat; false once asked to leave
            time.sleep(1)  # your work goes here
            self.log.info(f"seat {self.seat}: tick")


if __name__ == "__main__":
    sys.exit(Clock(pidfile="clock.pid", logfile="clock.log", spirits=4).ctrl(sys.argv[1:]))

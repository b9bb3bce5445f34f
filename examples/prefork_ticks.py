"""Ticks: a spirit that wears out says so itself, and one that hangs is found because it ticks no more.

Run:   python examples/prefork_ticks.py start
Seen:  prefork_ticks.log: each spirit does ten rounds, says that it leaves, and its replacement has started before it is
       gone. The third round of every fourth spirit hangs: after two seconds without a heartbeat its stack is in the log
       and it is replaced. The long round of the others is announced by ``busy`` and nobody minds.
"""

import sys
import time

from ghostd import Prefork

ROUNDS = 10
ROUND = 0.1  # seconds


class Worn(Prefork):
    name = "prefork_ticks"
    logfile = "prefork_ticks.log"
    spirits = 2
    heartbeat_interval = 1.0
    heartbeat_timeout = 1.0  # silent after both
    silent_timeout = 0.5  # and killed so long after that, if it does not leave

    def spirit(self) -> None:
        rounds = 0
        while self.tick(finished=rounds == ROUNDS):  # true in the last round: I shall leave, replace me
            rounds += 1
            if rounds == 3 and (self.serial or 0) % 4 == 0:
                self.log.warn(f"spirit {self.serial} hangs")
                time.sleep(3600)
            if rounds == 6:
                with self.busy(30):  # not to be judged for so many seconds
                    time.sleep(2.5)
            time.sleep(ROUND)
        self.log.info(f"spirit {self.serial} leaves after {rounds} rounds")


if __name__ == "__main__":
    sys.exit(Worn().ctrl(sys.argv[1:]))

"""Reload: the daemon reads its settings anew without a restart. Its pid stays the same.

Run:   echo hello > greeting.txt; python examples/reloading.py start
       echo good evening > greeting.txt; python examples/reloading.py reload
Seen:  reloading.log greets with the first text, and from the reload on with the second.

``reload`` sends HUP, and HUP calls ``hangup``. A Prefork has one already: it replaces its spirits one after another.
"""

import os
import sys
import time
from pathlib import Path

from ghostd import Ghost

GREETING = Path(os.environ.get("GREETING", "greeting.txt")).absolute()  # the daemon will live in /


class Greeter(Ghost):
    name = "reloading"
    logfile = "reloading.log"
    greeting = ""

    def init(self) -> None:
        self.greeting = GREETING.read_text().strip()  # an error here is told by ``start``, with exit code 69

    def startup(self) -> None:
        while self.ok:
            self.log.info(f"{self.greeting}, world")
            time.sleep(0.2)

    def hangup(self) -> None:
        try:
            self.greeting = GREETING.read_text().strip()
        except OSError as error:
            self.log.error(f"reload: {error}; the old greeting stays")
        else:
            self.log.notice(f"reloaded: the greeting is {self.greeting!r}")


if __name__ == "__main__":
    sys.exit(Greeter().ctrl(sys.argv[1:]))

"""The ghost: spirits that take one file after another from a queue, tokenise it and store the tally.

Rule: a spirit opens its own connection, after the fork, and beats once a file. All care for the dead is the queue's:
a spirit may be killed at any line below.

Run: ``WORDMILL_QUEUE=/tmp/mill.db ghostd run examples.wordmill.mill:Mill``; `demo.py` fills a queue and does it all.
"""

import os
import sys
import time

from examples.wordmill.queues import open_queue
from examples.wordmill.tally import tally
from ghostd import Prefork

IDLE = 0.1  # seconds before an empty queue is asked again; claims of the dead may come back into it


class Mill(Prefork):
    name = "wordmill"

    def spirit(self) -> None:
        with open_queue(os.environ["WORDMILL_QUEUE"]) as queue:
            while self.tick():
                job = queue.claim()
                if job is None:
                    time.sleep(IDLE)
                    continue
                result = tally(job.path)
                while not queue.complete(job, result):
                    self.tick()  # another spirit holds the database, perhaps a stopped one; we are alive


if __name__ == "__main__":
    sys.exit(Mill().ctrl(sys.argv[1:]))

"""A supervised consumer of a queue: the files in a directory. For one in a database see wordmill/.

Run:   mkdir spool; python examples/queue_consumer.py start; echo hello > spool/one.txt
Seen:  spool/one.txt is gone, spool/done/one.txt has its text in capitals. Kill spirits as you like: no file is lost.

A claim is a lock on the file, so it ends with the spirit, however that ends, and the next one takes the file up. The
result appears in one step (rename) before the job disappears (unlink); done twice, it is the same.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ghostd import Prefork

SPOOL = Path(os.environ.get("SPOOL", "spool")).absolute()
WORK = float(os.environ.get("WORK", "0.01"))  # seconds that a job takes, to look at


class Consumer(Prefork):
    name = "queue_consumer"
    logfile = "queue_consumer.log"

    def init(self) -> None:
        (SPOOL / "done").mkdir(exist_ok=True)  # without a spool this fails, and ``start`` says so

    def spirit(self) -> None:
        while self.tick():
            for job in sorted(SPOOL.glob("*.txt")):
                with claimed(job) as is_mine:
                    if is_mine:
                        self.consume(job)
                if not self.tick():
                    return
            time.sleep(0.1)

    def consume(self, job: Path) -> None:
        with self.busy(60):
            result = job.read_text().upper()
            time.sleep(WORK)
        unfinished = SPOOL / "done" / f".{job.name}.{os.getpid()}"
        unfinished.write_text(result)
        unfinished.replace(SPOOL / "done" / job.name)
        job.unlink()
        self.log.info(f"{job.name} is done")


@contextmanager
def claimed(job: Path) -> Iterator[bool]:
    try:
        with job.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield os.fstat(file.fileno()).st_nlink == 1  # 0: somebody finished it between our look and our lock
    except (BlockingIOError, FileNotFoundError):
        yield False  # another spirit has it, or has done it


if __name__ == "__main__":
    sys.exit(Consumer().ctrl(sys.argv[1:]))

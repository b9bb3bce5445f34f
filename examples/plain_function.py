"""A plain function that knows nothing of ghostd runs in every spirit.

Run:   ghostd run examples/plain_function.py:work --spirits 3       (or: python examples/plain_function.py start)
Seen:  three processes count; one that is killed is replaced; a stop ends each through its ``finally``.

A function without a parameter cannot tick: it counts as ready when it has run for ``settle`` seconds (0.2), its silence
is not judged, and a request to leave raises SystemExit in it. With one parameter it is handed the ghost:
``while ghost.tick(): ...``.
"""

import os
import sys
import time


def work() -> None:
    count = 0
    try:
        while True:
            count += 1
            print(f"pid {os.getpid()} counts {count}", flush=True)
            time.sleep(0.5)
    finally:
        print(f"pid {os.getpid()} leaves at {count}", flush=True)


if __name__ == "__main__":
    from ghostd import Prefork

    ghost = Prefork(spirit=work, name="plain_function", logfile="plain_function.log", spirits=3)
    sys.exit(ghost.ctrl(sys.argv[1:]))

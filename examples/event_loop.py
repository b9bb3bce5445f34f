"""An event loop, here asyncio's, in a daemon of one process. For many such processes see coroutine.py.

Run:   python examples/event_loop.py start
Seen:  event_loop.log has a fast and a slow rhythm beside each other; ``stop`` ends both, then the loop.
"""

import asyncio
import sys

from ghostd import Ghost


class Rhythms(Ghost):
    name = "event_loop"
    logfile = "event_loop.log"

    def startup(self) -> None:
        asyncio.run(self.main())

    async def main(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.rhythm("fast", 0.2))
            tasks.create_task(self.rhythm("slow", 0.5))
        self.log.info("both rhythms have ended")

    async def rhythm(self, name: str, every: float) -> None:
        while self.ok:
            self.log.info(f"{name} beat")
            await asyncio.sleep(every)


if __name__ == "__main__":
    sys.exit(Rhythms().ctrl(sys.argv[1:]))

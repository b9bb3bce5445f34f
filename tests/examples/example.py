"""One example as a person has it before them: started and spoken to by its commands.

Rule: what is known of it is what it prints, what its log says and what the kernel tells.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support import children_of, is_dead, wait_until

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"


class Example:
    """One example in a directory of its own, spoken to by its commands."""

    def __init__(self, name: str, place: Path, *words: str, **environ: str) -> None:
        self.name, self.place = name, place
        self.words = list(words) or [sys.executable, str(EXAMPLES / f"{name}.py")]
        self.environ = {**os.environ, **environ}
        self.pid = 0
        self.addresses: list[str] = []

    @property
    def log(self) -> str:
        path = self.place / f"{self.name}.log"
        return path.read_text() if path.exists() else ""

    @property
    def spirits(self) -> list[int]:
        return [pid for pid, state in children_of(self.pid).items() if state not in "ZX"]

    def run(self, verb: str, code: int = 0) -> str:
        """Run a command; what it prints, once it has ended with this code."""
        environ = {**self.environ, "PYTHONFAULTHANDLER": "1"}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*self.words, verb], cwd=self.place, env=environ, stdout=pipe, stderr=pipe, text=True
        ) as command:
            try:
                out, err = command.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                command.send_signal(signal.SIGABRT)  # it says where it hangs
                out, err = command.communicate(timeout=10)
            assert command.returncode == code, (out, err, self.log)
        return out + err

    def start(self) -> None:
        told = self.run("start")
        if running := re.search(r"^Running (\d+)$", told, re.MULTILINE):
            self.pid = int(running[1])  # whatever else it may have said, this is to be ended
        said = re.search(r"^Running \d+\n((?:Listening on .*\n)*)\Z", told, re.MULTILINE)  # preinit may speak before
        assert said, told
        self.addresses = re.findall(r"^Listening on (.*)$", said[1], re.MULTILINE)

    def stop(self) -> None:
        assert self.run("stop") == f"Stopped {self.pid}\n"
        assert is_dead(self.pid), "the command has said so"
        assert self.run("status", code=3) == "Not running\n"
        assert not list(self.place.glob("*.pid"))

    def wait_log(self, pattern: str, count: int = 1, timeout: float = 10.0) -> list[str]:
        """Wait until the log has so many matches of the pattern; all of them."""

        def found() -> list[str]:
            matches = re.findall(pattern, self.log)
            return matches if len(matches) >= count else []

        return wait_until(found, timeout, f"{count} x {pattern!r} in {self.name}.log:\n{self.log}")


Start = Callable[..., Example]

"""What the tests of pidfile, privileges, containers, log and terminal share: commands given in a world of their own.

Rule: as in harness.py. A world is a command before the command: another user, a namespace, a full disk.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.live.harness import Answer, Stage
from tests.support import stat_of

NOBODY: Final = 65534
AS_NOBODY: Final = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")

# A Ghost without a pool.
ALONE: Final = """\
class Subject(Ghost):
    def startup(self):
        self.report_up()
        note("up")
        while self.ok:
            time.sleep(0.01)
        note("down")
"""


@contextmanager
def open_stage() -> Iterator[Stage]:
    """A stage in a directory that every user may write to, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="ghostd-") as name:
        place = Path(name)
        place.chmod(0o777)
        made = Stage(place)
        try:
            yield made
        finally:
            made.close()


def told(
    stage: Stage,
    word: str,
    *,
    prefix: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Answer:
    """What a command answers in a world of its own."""
    words = [*prefix, sys.executable, str(stage.place / "subject.py"), word]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GHOSTD_")}
    done = subprocess.run(
        words,
        check=False,
        cwd=stage.place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**own, **(environ or {})},
    )
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


def shell(script: str, *, timeout: float = 30.0, cwd: Path | None = None) -> Answer:
    """What a script of bash answers in a mount namespace of its own; $PY is this interpreter."""
    words = ["unshare", "--mount", "--propagation", "private", "bash", "-ec", script]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GHOSTD_")}
    done = subprocess.run(
        words,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**own, "PY": sys.executable},
    )
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


def credentials(pid: int) -> tuple[set[int], set[int], set[int], int]:
    """Uids, gids, supplementary groups and effective capabilities of a process, as the kernel tells them."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines() if line
    )
    uids, gids, groups = ({int(one) for one in lines[name].split()} for name in ("Uid", "Gid", "Groups"))
    return uids, gids, groups, int(lines["CapEff"].strip(), 16)


def switches_of(pid: int) -> int:
    """How often it went to sleep, which is how often it woke."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def state_of(pid: int) -> str:
    """The letter of its state, "" when there is none."""
    fields = stat_of(pid)
    return fields[0] if fields else ""

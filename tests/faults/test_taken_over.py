"""What a spirit that has been taken over can do to its manager: nothing, when it is another user's."""

import pytest

from tests.live.places import open_stage
from tests.support import needs_root, needs_tool

pytestmark = [pytest.mark.live, needs_root, needs_tool("setpriv")]

# The manager stays root; a spirit becomes somebody else, as a program does that must not harm.
TAKEN_OVER = """\
class Subject(Prefork):
    def spirit(self):
        manager = os.getppid()
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        self.ready()
        tries = {
            "kill": lambda: os.kill(manager, signal.SIGKILL),
            "stop": lambda: os.kill(manager, signal.SIGSTOP),
            "pidfile": lambda: open(self.pidfile, "w"),
            "unlink": lambda: os.unlink(self.pidfile),
            "lock": lambda: open(self.pidfile + ".lock"),
            "folder": lambda: open(self.pidfile + ".mine", "x"),
            "memory": lambda: open(f"/proc/{manager}/mem", "rb"),
            "environ": lambda: open(f"/proc/{manager}/environ", "rb").read(),
            "descriptors": lambda: os.listdir(f"/proc/{manager}/fd"),
        }
        for name, attempt in tries.items():
            try:
                attempt()
            except PermissionError:
                note("refused", name)
            else:
                note("done", name)
        while self.tick():
            time.sleep(0.01)
"""


def test_a_spirit_of_another_user_cannot_signal_the_manager_nor_touch_its_files() -> None:
    with open_stage() as stage:
        (stage.place / "notes").touch()
        (stage.place / "notes").chmod(0o666)
        folder = stage.place / "own"
        folder.mkdir(mode=0o755)
        subject = stage.start(TAKEN_OVER, spirits=1, pidfile=str(folder / "pid"))
        refused = {note.more[0] for note in subject.wait_notes("refused", 9)}
        assert len(refused) == 9
        assert not subject.notes("done")
        assert subject.is_running()
        assert subject.quit() == 0

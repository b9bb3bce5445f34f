"""An image and its containers, by podman: built from the repository's file, on a base made of this machine's Python.

Nothing is fetched from a registry. All that podman keeps lies in one folder, and what runs ends with the test.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import NEEDS, wait_until

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable

REPOSITORY: Final = Path(__file__).resolve().parents[2]
APP: Final = REPOSITORY / "examples" / "web_starlette"
TOOLS: Final = ("podman", "runc", "conmon")
PROGRAMS: Final = ("sh", "chmod", "mkdir", "sleep")  # what the file's RUN lines and the tests use
LEFT_OUT: Final = ("ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages", "test", "tests", "tkinter")
MANYLINUX: Final = ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libgcc_s.so.1", "libstdc++.so.6")
LIMITS: Final = ("--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000")  # the defaults need CAP_SYS_RESOURCE


class Podman:
    """Podman with a store of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        runtime = shutil.which("runc") or "runc"
        self._words = [
            *("podman", "--root", str(place / "store"), "--runroot", str(place / "state"), "--storage-driver", "vfs"),
            *("--tmpdir", str(place / "alive"), "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("--runtime", runtime),
        ]

    def run(self, *words: str, code: int | None = 0, timeout: float = 120.0) -> str:
        """A command of podman: what it printed, once it has ended with this code."""
        done = subprocess.run(
            [*self._words, *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.place), "DISABLE_HC_SYSTEMD": "true"},
        )
        assert code in (None, done.returncode), (
            f"podman {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout + (done.stderr if words[0] == "logs" else "")

    def build(self, name: str) -> None:
        """Build the image of the example from the repository's file."""
        with (self.place / "base.tar").open("wb") as file:
            _write_base(file, _wheels(self.place / "wheels"))
        environ = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        changes = [word for name, value in environ.items() for word in ("--change", f"ENV {name}={value}")]
        self.run("import", *changes, str(self.place / "base.tar"), "base")
        (self.place / "base.tar").unlink()
        file_words = ("-f", str(REPOSITORY / "deploy" / "container" / "Containerfile"), "--format", "docker")
        how = ("--isolation", "chroot", "--network", "host", "--layers=false", "--build-arg", "BASE=localhost/base")
        self.run("build", *file_words, *how, "-t", name, str(APP))

    def close(self) -> None:
        """End and remove all that it has, and the groups that it leaves."""
        self.run("rm", "--all", "--force", "--time", "0", code=None)
        self.run("rmi", "--all", "--force", code=None)
        for parent in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
            for group in (parent / "conmon", parent):
                with suppress(OSError):  # there is none, or somebody else's containers are in it
                    group.rmdir()


class Container:
    """One that runs."""

    def __init__(self, podman: Podman, *words: str) -> None:
        listen = ("--network", "host", "--env", "GHOSTD_LISTEN=127.0.0.1:0")
        self._podman = podman
        self.name = podman.run("run", "--detach", "--log-driver", "k8s-file", *LIMITS, *listen, *words).strip()
        self.pid = int(self.inspect("State", "Pid"))

    def inspect(self, *names: str) -> Any:  # noqa: ANN401  whatever is there
        found = json.loads(self._podman.run("inspect", self.name))[0]
        for name in names:
            found = found[name]
        return found

    def run(self, *words: str, code: int | None = 0) -> str:
        """A command in it."""
        return self._podman.run("exec", self.name, *words, code=code)

    def podman(self, verb: str, *words: str, code: int | None = 0) -> str:
        return self._podman.run(verb, *words, self.name, code=code)

    @property
    def log(self) -> str:
        return self._podman.run("logs", self.name)

    def wait_log(self, pattern: str, count: int = 1) -> None:
        wait_until(lambda: len(re.findall(pattern, self.log)) >= count, 30.0, f"{count} x {pattern!r} in {self.log}")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once it does."""
        self.wait_log("Pool is whole")
        host, port = re.findall(r"Listening on (\S+):(\d+)", self.log)[0]
        return host, int(port)


def require() -> None:
    """Skip unless images can be built and run here."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{NEEDS}{' and '.join(missing)}")


def _wheels(place: Path) -> list[Path]:
    """What the example requires, and this ghostd."""
    wanted = [line.replace("ghostd", str(REPOSITORY)) for line in (APP / "requirements.txt").read_text().split()]
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "-w", str(place), *wanted]
    subprocess.run(words, check=True, capture_output=True, timeout=120, cwd=place.parent)
    return sorted(place.iterdir())


def _write_base(file: io.BufferedWriter, wheels: Iterable[Path]) -> None:
    """A root with this Python, a shell and the wheels."""
    library = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.executable).resolve()
    programs = [Path(found) for name in PROGRAMS if (found := shutil.which(name, path="/usr/bin:/bin"))]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
        for name, mode in (("tmp", 0o1777), ("run", 0o755), ("proc", 0o555), ("dev", 0o755), ("sys", 0o555)):
            _add_folder(tar, name, mode)
        tar.add(library, f"usr/local/lib/{version}", filter=_wanted)
        tar.add(Path(sysconfig.get_path("purelib"), "pip"), f"usr/local/lib/{version}/site-packages/pip")
        for name in ("python3", version):
            tar.add(python, f"usr/local/bin/{name}")
        for program in programs:
            tar.add(program, f"usr/bin/{program.name}")
            tar.add(program, f"bin/{program.name}")
        libraries = _libraries([python, *programs, *library.glob("lib-dynload/*.so")])
        for folder in sorted({str(parent) for path in libraries for parent in path.parents} - {"/"}):
            _add_folder(tar, folder[1:], 0o755)  # also where this machine lets only root in
        for path in sorted(libraries):
            tar.add(path, str(path)[1:])
        for wheel in wheels:
            tar.add(wheel, f"wheels/{wheel.name}")


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode = tarfile.DIRTYPE, mode
    tar.addfile(folder)


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(member.name).parts[4:]  # below the folder of the library
    is_out = any(part in LEFT_OUT or part.startswith("config-") or ".opt-" in part for part in parts)
    member.uid = member.gid = 0
    return None if is_out else member


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """What these load, by the dynamic linker's own word."""
    done = subprocess.run(["ldd", *map(str, programs)], check=False, capture_output=True, text=True, timeout=60)
    found = {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)}
    beside = next(path.parent for path in found if path.name.startswith("libc.so"))
    return found | {beside / name for name in MANYLINUX if (beside / name).exists()}  # what wheels may rest on

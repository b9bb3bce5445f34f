"""What the tests of the examples share: examples that are started, and databases of their own.

Rule: what is started here is ended here, by pid.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.example import Example, Start
from tests.support import NEEDS, is_alive, wait_gone, wait_until


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL data directory, the programs that made it, and the words that run them as its owner."""

    place: Path
    programs: Path
    as_owner: list[str]

    def words(self, program: str, *options: str) -> list[str]:
        return [*self.as_owner, str(self.programs / program), "-D", str(self.place / "data"), *options]

    def url(self, database: str) -> str:
        return f"postgresql://wordmill@/{database}?host={self.place}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an example; it is ended, however the test ends."""
    started: list[Example] = []

    def begin(name: str, *words: str, **environ: str) -> Example:
        example = Example(name, tmp_path, *words, **environ)
        started.append(example)
        example.start()
        return example

    yield begin
    for example in started:
        if example.pid and is_alive(example.pid):
            os.kill(example.pid, signal.SIGTERM)
            wait_gone(example.pid)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A data directory; no server runs on it outside a test."""
    programs = _programs()
    if programs is None:
        pytest.skip(f"{NEEDS}initdb: there is none in /usr/lib/postgresql/*/bin nor on the PATH")
    # Not below tmp_path: root's is closed to the server's user, and a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        made = Cluster(Path(name), programs, _as_owner(Path(name)))
        words = made.words("initdb", "-U", "wordmill", "-A", "trust", "--no-sync")
        subprocess.run(words, cwd=name, check=True, capture_output=True, timeout=60)
        yield made


@pytest.fixture
def postgres_url(cluster: Cluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A URL to an empty database on a server of our own: no TCP port, a socket in a directory of its own."""
    psycopg = pytest.importorskip("psycopg", reason=f"{NEEDS}psycopg")
    settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=20"]
    words = cluster.words("postgres", "-k", str(cluster.place), *settings)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "postgres.log").open("w+b"))
        server = subprocess.Popen(words, cwd=cluster.place, stdout=log, stderr=log)
        stack.callback(_end, server)

        def answers() -> bool:
            assert server.poll() is None, Path(log.name).read_text()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(cluster.url("postgres")).close()
                return True
            return False

        wait_until(answers, timeout=30, what="a connection to PostgreSQL")
        name = f"t{abs(hash(request.node.nodeid))}"
        with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        yield cluster.url(name)


@pytest.fixture(params=["sqlite", "postgres"])
def queue_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a queue can be made, in each of the databases."""
    if request.param == "sqlite":
        return str(tmp_path / "queue.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


def _programs() -> Path | None:
    # Debian keeps the server's programs off the PATH; what is on it may be a link without `postgres` beside it.
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), Path(shutil.which("initdb") or "/")]
    return next((path.resolve().parent for path in found if path.resolve().with_name("postgres").is_file()), None)


def _as_owner(place: Path) -> list[str]:
    """Give the place to whom the server shall run as: not root, which it refuses to be."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            owner = pwd.getpwnam(name)
            if setpriv:
                os.chown(place, owner.pw_uid, owner.pw_gid)
                return [setpriv, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    pytest.skip(f"{NEEDS}setpriv and a user postgres or nobody, because root may not run the server")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # a fast shutdown: connections are ended
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)  # at once, and its children with it
        server.wait(10)

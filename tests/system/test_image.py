"""A real image, built by the repository's file: ghostd is PID 1, on a root that nobody can write to, as anybody."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bench.serve.client import Client
from tests.support import children_of, needs_root, wait_until
from tests.system.image import Container, Podman, require

pytestmark = [
    pytest.mark.live,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.namespace,
    pytest.mark.timeout(300),  # the first one builds the image
    needs_root,
]

IMAGE = "localhost/web"
LIMIT = 20.0  # of a stop, after which podman kills
LOCKED = ("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/run/ghostd:size=64k,mode=1777")
ANYBODY = ("--user", "1234567:7654321", "--cap-drop", "all", "--security-opt", "no-new-privileges")


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """The image of the example, built."""
    require()
    made = Podman(tmp_path_factory.mktemp("podman"))
    try:
        made.build(IMAGE)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def container(podman: Podman) -> Container:
    """One with nothing that can be written to but for the place of the pidfile, run by somebody that no file knows."""
    return Container(podman, *LOCKED, *ANYBODY, IMAGE)


def test_the_first_process_is_ghostd_and_both_probes_answer(container: Container) -> None:
    assert Client(container.address, connections=1).run(requests=3).failed == {}
    arguments = container.run("python3", "-c", "print(open('/proc/1/cmdline').read())")
    assert arguments.startswith("web_starlette: manager")
    for probe in ("--ready", "--live"):
        container.run("ghostd", "check", probe)
    container.podman("healthcheck", "run")


def test_nobody_can_write_to_its_root_and_it_is_nobody_that_a_file_knows(container: Container) -> None:
    said = container.run("sh", "-c", "mkdir /app/x || mkdir /tmp/x || mkdir /opt/x || echo refused")
    assert said.strip() == "refused"
    assert os.stat(f"/proc/{container.pid}").st_uid == 1234567


def test_orphans_are_reaped_by_the_first_process(container: Container) -> None:
    container.wait_log("Pool is whole")
    before = set(children_of(container.pid))
    container.run("sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.2 &); done")
    wait_until(lambda: set(children_of(container.pid)) == before, what="no zombie and no orphan")
    assert "Spirit 1 stopped" not in container.log
    container.run("ghostd", "check", "--ready")


def test_a_reload_by_hup_loses_no_request(container: Container) -> None:
    address, over = container.address, threading.Event()
    client = Client(address, connections=4, keep_alive=False)
    thread = threading.Thread(target=client.run, kwargs={"seconds": 60.0, "until": over.is_set})
    thread.start()
    try:
        for number in range(1, 4):
            wait_until(lambda number=number: client.outcome.answered >= 100 * number)  # type: ignore[misc]
            container.podman("kill", "--signal", "HUP")
            container.wait_log("Reloaded: ", number)
    finally:
        over.set()
        thread.join()
    assert client.outcome.failed == {}
    pids = {json.loads(body)["pid"] for body in client.outcome.bodies}
    assert len(pids) >= 6, "the spirits of three generations have answered"


def test_term_finishes_what_is_in_hand_within_the_limit(podman: Podman) -> None:
    container = Container(podman, IMAGE)
    with socket.create_connection(container.address, timeout=LIMIT) as stream:
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = stream.recv(65536)
        assert os.stat(f"/proc/{container.pid}").st_uid == 10001
        began = time.monotonic()
        stopping = threading.Thread(target=container.podman, args=("stop", "--time", str(int(LIMIT))))
        stopping.start()
        while part := stream.recv(65536):
            got += part
        stopping.join()
        took = time.monotonic() - began
    assert got.endswith(b"0\r\n\r\n"), f"not the end of a whole answer: {got!r}\n{container.log}"
    assert container.inspect("State", "ExitCode") == 0
    assert took < LIMIT, "it was not killed"


def test_the_image_says_how_it_is_stopped_and_asked(podman: Podman) -> None:
    (image,) = json.loads(podman.run("image", "inspect", IMAGE))
    assert image["Config"]["StopSignal"] in ("SIGTERM", str(signal.SIGTERM.value))
    assert image["Config"]["User"] == "10001:10001"
    assert image["HealthCheck" if "HealthCheck" in image else "Healthcheck"]["Test"] == [
        "CMD",
        "ghostd",
        "check",
        "--ready",
    ]

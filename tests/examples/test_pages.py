"""Each example is started, seen to do what its page says, and stopped, as a person would do it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.examples.example import EXAMPLES, ROOT, Example, Start
from tests.live.traffic import Traffic, connect
from tests.support import children_of, needs_root, needs_tool, stat_of, wait_gone, wait_until

PAGES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "__init__")

SMALL = {"model_server": {"GHOSTD_LISTEN": "127.0.0.1:0", "MODEL_MB": "12"}}  # any port, and no more than shows it

pytestmark = pytest.mark.live


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_how_to_run_it_and_what_is_seen(name: str) -> None:
    page = (EXAMPLES / f"{name}.py").read_text()
    docstring = page.split('"""')[1]
    assert f"examples/{name}.py" in docstring
    assert "\nRun: " in docstring
    assert "\nSeen: " in docstring
    assert len(page.splitlines()) <= 80, "an example is one page"
    assert f"{name}.py" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("name", [name for name in PAGES if name != "other_user"])
def test_every_page_obeys_the_commands(name: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "greeting.txt").write_text("hello")
    (tmp_path / "spool").mkdir()
    stopped = Example(name, tmp_path, **SMALL.get(name, {}))
    assert stopped.run("status", code=3) == "Not running\n"
    assert stopped.run("stop") == "Not running\n"
    assert "Command incorrect" in stopped.run("dance", code=2)
    example = start(name, **SMALL.get(name, {}))
    assert example.run("status") == f"Running {example.pid}\n"
    assert example.run("start") == f"Already running {example.pid}\n"
    assert example.run("restart").endswith("Restart successful\n")
    wait_gone(example.pid)
    example.pid = int((tmp_path / f"{name}.pid").read_text().split()[0])
    example.stop()


def test_simple_logs_until_it_is_stopped(start: Start) -> None:
    example = start("simple")
    example.wait_log("still here, 2 times")
    example.stop()
    assert "init: in the daemon, once" in example.log
    example.wait_log("cleanup: a normal end")


def test_reloading_greets_with_the_new_text_and_keeps_its_pid(start: Start, tmp_path: Path) -> None:
    (tmp_path / "greeting.txt").write_text("hello\n")
    example = start("reloading")
    example.wait_log("hello, world")
    (tmp_path / "greeting.txt").write_text("good evening\n")
    assert example.run("reload") == f"Reloading {example.pid}\n"
    example.wait_log("good evening, world")
    (tmp_path / "greeting.txt").unlink()
    example.run("reload")
    example.wait_log("reload: .*No such file.*the old greeting stays")
    assert example.run("status") == f"Running {example.pid}\n"
    example.stop()


def test_reloading_without_a_greeting_does_not_start_and_says_why(tmp_path: Path) -> None:
    assert "greeting.txt" in Example("reloading", tmp_path).run("start", code=69)


def test_event_loop_has_both_rhythms_and_ends_both(start: Start) -> None:
    example = start("event_loop")
    example.wait_log("slow beat", 2)
    example.wait_log("fast beat", 4)
    example.stop()
    assert "both rhythms have ended" in example.log


def test_prefork_hooks_are_called_in_their_order(start: Start) -> None:
    example = start("prefork_hooks")
    example.wait_log("heartbeat: ", 2)
    victim = example.spirits[0]
    os.kill(victim, signal.SIGKILL)
    example.wait_log(rf"reap: spirit with pid {victim} ended by signal 9")
    example.wait_log("spawn: ", 3)
    wait_until(lambda: len(example.spirits) == 2)
    example.run("reload")
    example.wait_log("spirit: serial [45] .*begins", 2)
    example.wait_log("reap: ", 3)
    example.stop()
    said = re.findall(r"pid \d+: (\w+):", example.log)
    assert said[:2] == ["init", "startup"]  # preinit has spoken on the starter's own standard output
    assert said[-2:] == ["startup", "cleanup"]
    assert said.count("hangup") == said.count("finish") == 1
    assert said.count("spawn") == said.count("reap") == 5
    assert said.index("spawn") < said.index("waitup") < said.index("heartbeat")
    assert said.index("finish") < len(said) - said[::-1].index("reap")


def test_prefork_minimal_keeps_four_at_work(start: Start) -> None:
    example = start("prefork_minimal")
    assert len(set(example.wait_log(r"at work on seat (\d)", 4))) == 4
    before = set(example.spirits)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(set(example.spirits) - {victim}) == 4)
    example.stop()


def test_prefork_ticks_replaces_the_worn_and_the_hung_and_leaves_the_busy_alone(start: Start) -> None:
    example = start("prefork_ticks")
    example.wait_log("spirit [123] leaves after 10 rounds", 3, timeout=20)
    example.wait_log("spirit 4 hangs")
    silent = example.wait_log(r"Spirit (\d+) has no heartbeat", timeout=20)
    assert len(silent) == 1
    wait_gone(int(silent[0]))
    example.stop()


def test_plain_function_is_replaced_and_leaves_through_its_finally(start: Start) -> None:
    example = start("plain_function")
    example.wait_log(r"pid \d+ counts 2", 3)
    victim = example.spirits[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in example.spirits and len(example.spirits) == 3)
    spirits = example.spirits
    example.wait_log(rf"pid ({'|'.join(map(str, spirits))}) counts 1", 3)
    example.stop()
    assert {int(pid) for pid in re.findall(r"pid (\d+) leaves", example.log)} == set(spirits)


def test_plain_function_runs_by_the_command_alone(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ghostd", "run", str(EXAMPLES / "plain_function.py:work"), "--spirits", "2"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as ghost:
        assert ghost.stdout is not None
        counting = {line.split()[1] for _, line in zip(range(4), ghost.stdout, strict=False) if "counts" in line}
        assert counting <= {str(pid) for pid in children_of(ghost.pid)}
        ghost.send_signal(signal.SIGINT)
        ghost.communicate(timeout=20)
    assert ghost.returncode == 0


def test_coroutine_answers_in_each_spirit_and_a_blocked_loop_is_replaced(start: Start, tmp_path: Path) -> None:
    example = start("coroutine")

    def ask(pid: int, text: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(tmp_path / f"coroutine.{pid}.sock"))
            connection.sendall(f"{text}\n".encode())
            return connection.makefile().readline()

    victim, other = example.spirits
    assert ask(victim, "hello") == f"pid {victim}: hello\n"
    assert ask(victim, "block") == ""  # its end closes the connection
    wait_gone(victim)
    assert ask(other, "hello") == f"pid {other}: hello\n"
    example.wait_log("has no heartbeat")
    (new,) = set(example.spirits) - {other}
    wait_until((tmp_path / f"coroutine.{new}.sock").exists)
    assert ask(new, "hello") == f"pid {new}: hello\n"
    example.stop()
    assert not list(tmp_path.glob("*.sock"))


def test_echo_answers_on_its_socket_and_a_reload_loses_no_connection(start: Start, tmp_path: Path) -> None:
    example = start("echo")
    assert example.addresses == [f"unix:{tmp_path}/echo.sock"]
    before = set(example.spirits)
    with Traffic(example.addresses[0], clients=3, answers=rb"(hello)\n") as traffic, dial(example) as open_all_along:
        open_all_along.sendall(b"hello")
        assert open_all_along.recv(100) == b"hello"
        for number in range(1, 4):
            traffic.wait_answers(50)
            example.run("reload")
            example.wait_log("Reloaded: ", number)
        assert open_all_along.recv(100) == b"", "closed in order"
    assert not traffic.total.lost
    assert traffic.total.answered > 150
    wait_until(lambda: len(example.spirits) == 2 and not before & set(example.spirits))
    example.stop()
    assert not list(tmp_path.glob("*.sock"))


def test_echo_answers_as_many_at_a_time_as_it_says(start: Start) -> None:
    example = start("echo", GHOSTD_SPIRITS="1")
    with ExitStack() as stack:
        socks = [stack.enter_context(dial(example)) for _ in range(5)]
        for sock in socks:
            sock.sendall(b"hello")
        assert [sock.recv(100) for sock in socks[:4]] == [b"hello"] * 4
        socks[4].settimeout(0.2)
        with pytest.raises(TimeoutError):
            socks[4].recv(100)
        socks[0].close()
        socks[4].settimeout(10)
        assert socks[4].recv(100) == b"hello"
    example.stop()


def test_the_server_of_the_readme_answers_as_pasted(start: Start, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (text,) = [block for block in blocks if "def connection" in block]
    (tmp_path / "echo.py").write_text(text)
    example = start("echo", sys.executable, "echo.py", GHOSTD_LISTEN="127.0.0.1:0")
    with dial(example) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        example.stop()
        assert sock.recv(100) == b""


def dial(example: Example) -> socket.socket:
    return connect(example.addresses[0])


def test_queue_consumer_loses_no_file_when_spirits_are_killed(start: Start, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    wanted = {f"{number}.txt": f"word {number}" for number in range(60)}
    for name, text in wanted.items():
        (spool / name).write_text(text)
    example = start("queue_consumer", WORK="0.05")
    for done in (5, 15, 25, 35):
        wait_until(lambda done=done: len(list(spool.glob("done/*.txt"))) >= done)  # type: ignore[misc]
        os.kill(example.spirits[done % 2], signal.SIGKILL)
    wait_until(lambda: not list(spool.glob("*.txt")), timeout=20)
    assert {path.name: path.read_text().lower() for path in spool.glob("done/*.txt")} == wanted
    assert len(re.findall("killed by SIGKILL", example.log)) == 4
    example.stop()


def test_queue_consumer_without_a_spool_does_not_start_and_says_why(tmp_path: Path) -> None:
    assert "spool" in Example("queue_consumer", tmp_path).run("start", code=69)


def test_model_server_shares_its_model_and_a_collection_does_not_change_that(start: Start) -> None:
    example = start("model_server", **SMALL["model_server"])
    host, _, port = example.addresses[0].rpartition(":")

    def ask(path: str) -> str:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return connection.makefile().read().partition("\n\n")[2]

    def private() -> list[float]:
        assert example.run("memory").count("\nspirit ") == ask("/memory").count("\nspirit ") == 8
        return [float(line.split()[2]) for line in ask("/memory").splitlines() if line.startswith("spirit")]

    example.wait_log("Pool is whole")
    assert json.loads(ask("/?word=word7")) == {"rank": 7, "score": 3.5, "near": ["word6", "word8"]}
    before = private()
    collected: set[str] = set()
    while len(collected) < 8:
        collected |= {ask("/collect").partition(":")[0]}
    grown = [after - first for first, after in zip(before, private(), strict=True)]
    assert max(grown) < 3.0, f"of 12 MB of objects a collection copied these: {grown}"
    example.stop()
    assert example.run("memory", code=1) == "Not running\n"


@needs_root
@needs_tool("setpriv")
def test_other_user_without_the_right_to_change_says_so() -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    example = Example("other_user", Path("/"), *as_nobody, sys.executable, str(EXAMPLES / "other_user.py"))
    with tempfile.TemporaryDirectory() as place:  # not below tmp_path: root's is closed to that user
        Path(place).chmod(0o777)
        example.environ |= {"USER_TO_BE": "root", "GHOSTD_PIDFILE": f"{place}/other_user.pid"}
        assert "takes root: start it as root" in example.run("start", code=77)


IN_A_NAMESPACE = """
    set -e
    mount -t tmpfs tmpfs "$1"
    for node in null zero full random urandom; do touch "$1/$node"; mount --bind "/dev/$node" "$1/$node"; done
    ln -s /proc/self/fd "$1/fd"
    touch "$1/log"; mount --bind "$2" "$1/log"
    mount --rbind "$1" /dev
    shift 2
    exec "$@"
"""


@needs_root
@needs_tool("unshare")
@pytest.mark.namespace
def test_other_user_lives_as_that_user_and_logs_to_syslog(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.settimeout(10)
        syslog.bind(str(tmp_path / "log"))
        (tmp_path / "log").chmod(0o666)
        (tmp_path / "dev").mkdir()
        tmp_path.chmod(0o777)
        in_namespace = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            textwrap.dedent(IN_A_NAMESPACE),
            "sh",
        ]
        words = [
            *in_namespace,
            str(tmp_path / "dev"),
            str(tmp_path / "log"),
            sys.executable,
            str(EXAMPLES / "other_user.py"),
        ]
        if subprocess.run([*words[:-2], "true"], check=False, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        example = start("other_user", *words)
        received = iter(lambda: syslog.recv(4096).decode(), "")
        said = next(text for text in received if "I am uid" in text)
        assert re.fullmatch(
            rf"<29>.*other_user\[{example.pid}\]: I am uid 65534, gid 65534, with the groups \[.*\]\0?", said
        )
        status = Path(f"/proc/{example.pid}/status").read_text()
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
        assert "\nGid:\t65534\t65534\t65534\t65534\n" in status
        assert stat_of(example.pid)
        example.stop()

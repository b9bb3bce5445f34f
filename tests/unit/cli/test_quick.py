"""The short way reads less than the long one, and never otherwise."""

import os
import signal
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostd import naming
from ghostd.cli import asking, quick
from ghostd.daemon.pidfile import FilePid
from tests.support import is_dead
from tests.unit.linux.forks import Gate, child, pause


def test_stop_says_stopped_only_when_the_ghost_has_ended_though_it_gave_its_lock_back_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asking, "FIRST_MOMENT", 0.01)

    def leave(pidfile: FilePid) -> None:
        pidfile.remove()
        time.sleep(0.5)  # the end of a big process takes its time
        os._exit(0)

    def manage() -> None:
        pidfile = FilePid(tmp_path / "ghost.pid", autosave=True)
        signal.signal(signal.SIGQUIT, lambda *_: leave(pidfile))
        begun.open()
        pause()

    with Gate() as begun, child(manage) as pid:
        begun.wait()
        assert quick.run(["stop", "--pidfile", str(tmp_path / "ghost.pid")]) == 0
        assert is_dead(pid)
    assert capsys.readouterr().out == f"Stopped {pid}\n"


def wanted(**said: object) -> quick.Wanted:
    made = quick.Wanted("status")
    for name, value in said.items():
        setattr(made, name, value)
    return made


# ── words ──
@pytest.mark.parametrize(
    ("words", "target", "pidfile", "name", "as_json"),
    [
        ("status", None, None, None, False),
        ("stop --pidfile a.pid", None, "a.pid", None, False),
        ("reload --pidfile=a.pid", None, "a.pid", None, False),
        ("status --name mailer --json", None, None, "mailer", True),
        ("status app:Mailer --name=mailer", "app:Mailer", None, "mailer", False),
        ("status --json x/ghostd.toml", "x/ghostd.toml", None, None, True),
    ],
)
def test_the_plain_forms_are_understood(
    words: str, target: str | None, pidfile: str | None, name: str | None, as_json: bool
) -> None:
    said = quick.parse(words.split())
    assert said is not None
    assert (said.command, said.target, said.pidfile, said.name, said.as_json) == (
        words.split(maxsplit=1)[0],
        target,
        pidfile,
        name,
        as_json,
    )


@pytest.mark.parametrize(
    "words",
    [
        "",
        "start",
        "restart",
        "run",
        "status --help",
        "status -h",
        "status a:b c:d",
        "status --pidfile",
        "status --pidfile=",
        "status --pidfile --json",
        "stop --json",
        "stop --graceful-timeout 5",
        "status --pid a",
        "status --",
    ],
)
def test_anything_else_is_left_to_the_long_way(words: str) -> None:
    assert quick.parse(words.split()) is None


@pytest.mark.parametrize(
    ("words", "probe", "ready_file"),
    [
        ("check", None, None),
        ("check --live --name a", "--live", None),
        ("check --ready", "--ready", None),
        ("check --ready-file=r --ready", "--ready", "r"),
        ("check --ready-file r", None, "r"),
    ],
)
def test_the_plain_forms_of_a_probe_are_understood(words: str, probe: str | None, ready_file: str | None) -> None:
    said = quick.parse(words.split())
    assert said is not None
    assert (said.command, said.probe, said.ready_file) == ("check", probe, ready_file)


@pytest.mark.parametrize(
    "words",
    ["check --live --ready", "check --live --live", "check --json", "check --ready-file", "status --ready-file r"],
)
def test_other_forms_of_a_probe_are_left_to_the_long_way(words: str) -> None:
    assert quick.parse(words.split()) is None


# ── where the ready file is ──
def test_the_ready_file_is_beside_the_pidfile_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def found(environ: dict[str, str], said: dict[str, str], **given: object) -> str:
        return quick.find_ready_file(wanted(**given), environ, "x/ghostd.toml", said, "/run/a.pid")

    environ, said = {"GHOSTD_READY_FILE": "environ"}, {"ready_file": "file"}
    assert found(environ, said, ready_file="flag") == str(tmp_path / "flag")
    assert found(environ, said) == str(tmp_path / "environ")
    assert found({}, said) == str(tmp_path / "x/file")
    assert found({}, {}) == "/run/a.pid.ready"


# ── where the pidfile is ──
def test_a_pidfile_given_wins_whatever_else_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = {"pidfile": "file.pid", "name": "file"}
    environ = {"GHOSTD_PIDFILE": "environ.pid"}
    by_flag = quick.find_pidfile(wanted(pidfile="flag.pid"), environ, "x/ghostd.toml", said)
    assert by_flag == str(tmp_path / "flag.pid")
    assert quick.find_pidfile(wanted(name="n"), environ, "x/ghostd.toml", said) == str(tmp_path / "environ.pid")
    assert quick.find_pidfile(wanted(name="n"), {}, "x/ghostd.toml", said) == str(tmp_path / "x/file.pid")


def test_without_a_pidfile_it_is_the_name_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quick.find_pidfile(wanted(name="a"), {"GHOSTD_NAME": "b"}, None, None) == str(tmp_path / "a.pid")
    assert quick.find_pidfile(wanted(), {"GHOSTD_NAME": "b"}, None, None) == str(tmp_path / "b.pid")
    said = {"name": "c", "target": "d:e"}
    assert quick.find_pidfile(wanted(), {}, "x/ghostd.toml", said) == str(tmp_path / "x/c.pid")
    assert quick.find_pidfile(wanted(), {}, "x/ghostd.toml", {"target": "p.d:e"}) == str(tmp_path / "x/d.pid")


@pytest.mark.parametrize("said", [None, {}, {"name": "a/b"}])
def test_where_only_the_program_can_tell_the_long_way_is_taken(said: dict[str, str] | None) -> None:
    assert quick.find_pidfile(wanted(), {}, "ghostd.toml", said) is None
    assert quick.find_pidfile(wanted(target="app:Mailer"), {}, None, None) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("app:Mailer", "app"),
        ("app.jobs.mail:run", "mail"),
        ("app/mail.py:run", "mail"),
        ("mail.py:run", "mail"),
        ("./my.mail.py:run", "my.mail"),
        ("", ""),
    ],
)
def test_a_name_comes_from_the_target(text: str, name: str) -> None:
    assert naming.stem(text) == name


# ── the file ──
def plain(tmp_path: Path, text: str) -> dict[str, str] | None:
    path = tmp_path / "ghostd.toml"
    path.write_text(text, encoding="utf-8")
    return quick.read_plain(str(path))


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    text = """
    # the mailer
    target = "app:Mailer"   # what to run
    pidfile='/run/mailer.pid'
    spirits = 8             # "quoted"
    heartbeat_timeout = 1.5e3
    freeze = true
    listen = ["127.0.0.1:80", 'unix:x.sock',]  # two
    group = []
    """
    assert plain(tmp_path, text) == {"target": "app:Mailer", "pidfile": "/run/mailer.pid"}


@pytest.mark.parametrize(
    "text",
    [
        'pidfile = "a\\u0041"',
        'pidfile = """\na"""',
        "pidfile = 5",
        'pidfile = ""',
        'name = "a" "b"',
        'name = "a',
        'name = "a"\nname = "b"',
        '[pidfile]\nname = "a"',
        'group = ["a", 5]',
        'group = ["a" "b"]',
        'group = ["a", "b"',
        'group = ["a", "b"] "c"',
        'group = ["a\\t"]',
        'group = ["""a"""]',
        'group = [["a"]]',
        'name = ["a"]',
        '"name" = "a"',
        'a.b = "c"',
        "nonsense",
        'name = "a\tb"',
    ],
)
def test_what_is_not_plain_is_left_to_the_long_way(tmp_path: Path, text: str) -> None:
    assert plain(tmp_path, text) is None


def test_what_is_no_readable_regular_file_is_left_to_the_long_way(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name in ("fifo", "bytes", "missing", "."):
        assert quick.read_plain(str(tmp_path / name)) is None


LINES = st.lists(
    st.sampled_from(
        [
            'name = "a"',
            "pidfile = 'b'",
            'target="m:n"',
            "spirits = 4",
            "young = -1.5e3",
            "freeze = true # x",
            "# y",
            "",
            "[t]",
            "umask = 0o22",
            """listen = ["a", 'b' ,] # c""",
            "listen = ['']",
        ]
    )
    | st.builds(
        "{} {} {}".format,
        st.sampled_from(["name", "pidfile", "target", "x-1", '"q"', "a.b"]),
        st.sampled_from(["=", "= ", "=="]),
        st.text(alphabet="\"'\\ab=#[]{},0 \t\n\r\x00é\u2028", max_size=8) | st.text(max_size=5).map(lambda t: f'"{t}"'),
    ),
    max_size=5,
)


@given(LINES)
def test_the_short_way_reads_a_file_as_tomllib_does_or_not_at_all(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = quick.parse_plain(text)
    if found is None:
        return
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # the long way has the words for it, and whatever is running can still be asked
    assert found == {key: value for key, value in told.items() if isinstance(value, str)}

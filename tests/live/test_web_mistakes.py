"""A mistake about a web application is one line that says what to do, an exit code, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from ghostd.errors import ExitCode
from tests.live.harness import Stage
from tests.live.web import each, run
from tests.support import needs_tool, wait_until

pytestmark = pytest.mark.live

FILES: Final = {
    "app.py": """\
import sys
NUMBER = 7

async def app(scope, receive, send):
    raise RuntimeError(scope["type"])

def wsgi(environ, start_response):
    return []

def make():
    return app

def nothing():
    return None

def anything(*args):
    return None

async def failing(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback: no database"})
""",
    "broken.py": "import nosuchlib\n",
    "ends.py": "raise SystemExit(3)\n",
    "key.toml": 'target = "app:app"\n[serve]\nlisten = "127.0.0.1:0"\n[serve.uvicorn]\nacess_log = true\n',
    "port.toml": 'target = "app:app"\n[serve]\nlisten = "127.0.0.1:0"\n[serve.uvicorn]\nport = 80\n',
    "type.toml": 'target = "app:app"\n[serve]\nlisten = "127.0.0.1:0"\n[serve.uvicorn]\naccess_log = "yes"\n',
    "tls.toml": 'target = "app:app"\n[serve]\nlisten = "127.0.0.1:0"\n[serve.uvicorn]\nssl_certfile = "none.pem"\n',
    "bad.toml": 'target = "app:app"\n[serve]\nlisten = "127.0.0.1:0"\n[serve.uvicorn]\nssl_certfile = "app.py"\n',
    "place.toml": 'target = "app:app"\n[serve]\nspirits = 2\n',
    "near.toml": 'target = "app:app"\n[serve]\nlissen = "127.0.0.1:0"\n',
    "twice.toml": 'target = "app:app"\nlisten = "127.0.0.1:0"\n[serve]\nlisten = "127.0.0.1:0"\n',
    "flat.toml": 'target = "app:app"\nserve = true\n',
    "threads.toml": 'target = "app:wsgi"\n[serve]\nlisten = "127.0.0.1:0"\n[serve.waitress]\nthreads = "four"\n',
}

AT = "--listen 127.0.0.1:0 --spirits 1"
MISTAKES: Final[list[tuple[str, ExitCode, tuple[str, ...]]]] = [
    ("serve", ExitCode.BAD_TARGET, ("nothing to run",)),
    ("serve app:app", ExitCode.BAD_OPTION, ("option listen", "--listen 127.0.0.1:8080")),
    (f"serve nosuch:app {AT}", ExitCode.BAD_TARGET, ("no module named nosuch",)),
    (f"serve nosuch.py:app {AT}", ExitCode.BAD_TARGET, ("no file", "nosuch.py")),
    (f"serve app:ap {AT}", ExitCode.BAD_TARGET, ("app has no ap", "did you mean app?")),
    (f"serve app:NUMBER {AT}", ExitCode.BAD_TARGET, ("target app:NUMBER is 7, which cannot be called",)),
    (f"serve app:make {AT}", ExitCode.BAD_TARGET, ("takes no argument, as a factory does", "factory = true")),
    (f"serve app:nothing --factory {AT}", ExitCode.BAD_TARGET, ("what the factory app:nothing returned is None",)),
    (f"serve app:app --factory {AT}", ExitCode.BAD_TARGET, ("is no factory", "without arguments")),
    (f"serve app:anything {AT}", ExitCode.BAD_TARGET, ("any number of arguments", "interface = asgi")),
    (f"serve broken:app {AT}", ExitCode.BAD_TARGET, ("No module named 'nosuchlib'", 'broken.py", line 1')),
    (f"serve ends:app {AT}", ExitCode.BAD_TARGET, ("ends the process when it is imported (exit 3)",)),
    (f"serve broken:app {AT} --preload", ExitCode.BAD_TARGET, ("No module named 'nosuchlib'",)),
    (f"serve app:failing {AT}", ExitCode.BOOT_FAILED, ("failed to start: Traceback: no database",)),
    (f"serve app:app {AT} --server waitress", ExitCode.BAD_OPTION, ("waitress serves no ASGI", "uvicorn, hypercorn")),
    (f"serve app:app {AT} --server waitress --interface asgi", ExitCode.BAD_OPTION, ("serves wsgi",)),
    (f"serve app:app {AT} --server apache", ExitCode.BAD_OPTION, ("'apache'", "one of auto, uvicorn")),
    ("serve key.toml", ExitCode.BAD_OPTION, ("option uvicorn.acess_log", "did you mean access_log")),
    ("serve port.toml", ExitCode.BAD_OPTION, ("option uvicorn.port", "use the option listen")),
    ("serve type.toml", ExitCode.BAD_OPTION, ("uvicorn.access_log: 'yes'", "true or false")),
    ("serve tls.toml", ExitCode.BAD_OPTION, ("uvicorn.ssl_certfile", "none.pem cannot be read", "No such file")),
    ("serve bad.toml", ExitCode.BAD_OPTION, ("option uvicorn: uvicorn does not take these options", "SSL")),
    ("serve threads.toml", ExitCode.BAD_OPTION, ("waitress.threads: 'four'", "a whole number")),
    ("serve place.toml", ExitCode.BAD_CONFIG, ("place.toml:serve.spirits", "at the top of the file")),
    ("serve near.toml", ExitCode.BAD_CONFIG, ("near.toml:serve.lissen", "did you mean listen?")),
    ("serve twice.toml", ExitCode.BAD_CONFIG, ("twice.toml:listen", "one of them has to go")),
    ("serve flat.toml", ExitCode.BAD_CONFIG, ("flat.toml:serve: True", "[serve]")),
]


@pytest.mark.parametrize(("line", "code", "parts"), MISTAKES, ids=[line.replace(AT, "") for line, _, _ in MISTAKES])
def test_a_mistake_is_told_with_what_to_do_and_leaves_nothing(
    tmp_path: Path, line: str, code: ExitCode, parts: tuple[str, ...]
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    words = [sys.executable, "-B", "-m", "ghostd", *line.split()]
    done = subprocess.run(words, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=30)
    told = "\n".join(one for one in done.stderr.splitlines() if not re.match(r"\[\d{4}-", one))  # without the log
    missing = [part for part in parts if part not in told]
    assert (done.returncode, missing) == (code, []), done.stderr
    assert "Traceback (most" not in told
    assert {path.name for path in tmp_path.iterdir()} - set(FILES) <= {"__pycache__"}


def test_a_server_that_is_not_installed_is_named_with_what_installs_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FILES["app.py"])
    hide = "import sys, importlib.util as u; f = u.find_spec\n"
    hide += "u.find_spec = lambda name, *more: None if name == 'waitress' else f(name, *more)\n"
    hide += f"sys.argv = ['ghostd', *{f'serve app:wsgi {AT}'.split()!r}]\n"
    hide += "from ghostd.cli.main import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-B", "-c", hide], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == ExitCode.BAD_TARGET
    assert "the server waitress is not installed: pip install 'ghostd[wsgi]'" in done.stderr


def test_a_lifespan_that_fails_later_is_backed_off_and_the_pool_lives_on(stage: Stage) -> None:
    app = """\
import os
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        what = "failed" if os.path.exists(SEEN) else "complete"
        await send({"type": "lifespan.startup." + what, "message": "no database"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""
    web = run(stage, "uvicorn asgi", app=app, spirits=2, young=1.0)
    (stage.place / "seen").write_text("now it fails")
    victim = min(web.subject.spirits())
    os.kill(victim, signal.SIGKILL)
    web.subject.wait_log("the application failed to start: no database", count=2)
    assert web.ask().bodies == {b"hello": 1}
    (stage.place / "seen").unlink()
    web.subject.wait_spirits(2, without={victim})
    wait_until(lambda: web.subject.logged("Pool is whole"))
    assert web.subject.quit() == 0


@each("uvicorn asgi", "hypercorn asgi", "waitress wsgi", "cheroot wsgi", "granian wsgi", "granian asgi")
def test_a_spirit_whose_application_hangs_is_found_and_replaced(stage: Stage, kind: str) -> None:
    web = run(stage, kind, spirits=1, heartbeat_interval=0.1, heartbeat_timeout=1.0, silent_timeout=0.2)
    (first,) = web.subject.spirits()
    threads = 1 if kind.endswith("asgi") else 10 if kind.startswith("cheroot") else 4
    with ExitStack() as open_until:
        for _ in range(threads):
            sock = open_until.enter_context(web.connected())
            sock.sendall(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n")
        web.subject.wait_log(r"has no heartbeat")
        web.subject.wait_spirits(1, without={first})
    wait_until(lambda: web.ask().answered == 1, what="an answer of the new spirit")
    assert web.subject.quit() == 0


@needs_tool("strace")
def test_options_that_cannot_be_tried_for_want_of_a_process_are_the_no_of_the_machine(stage: Stage) -> None:
    forks = "clone,clone3,fork,vfork"
    prefix = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={forks}", "-e", f"inject={forks}:error=EAGAIN"]
    web = run(stage, "uvicorn asgi", whole=False, prefix=prefix)
    assert web.subject.wait_end() == ExitCode.SYSTEM
    assert web.subject.logged("the options of the server could not be tried: Resource temporarily unavailable")
    assert not web.subject.logged("Traceback")

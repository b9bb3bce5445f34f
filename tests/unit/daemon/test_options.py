"""The options of a daemon: a mistake names option, value and what is allowed; what depends on the moment is settled."""

import os
from typing import Any

import pytest

from ghostd.daemon.options import DaemonOptions
from ghostd.errors import ExitCode, OptionError


def test_the_defaults_are_those_of_the_reference() -> None:
    options = DaemonOptions()
    assert (options.name, options.user, options.group, options.pidfile) == (None, None, None, None)
    assert (options.umask, options.chdir, options.start_timeout, options.stop_margin) == (0o022, "/", None, 5.0)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"name": name} for name in ("", ".", "..", "a/b", "a\nb", "x" * 201, 7)),
        *({"user": user} for user in ("", -1, 2.5, ["a"], True)),
        *({"group": group} for group in ("", [], [""], [None], -1)),
        *({"pidfile": path} for path in ("", "a\0b", 7)),
        *({"umask": umask} for umask in (-1, 0o1000, "022", True)),
        *({"chdir": path} for path in ("", "a\0b", None)),
        *({"start_timeout": limit} for limit in (0, -1, float("nan"), float("inf"), "1", True)),
        *({"stop_margin": limit} for limit in (-0.1, float("nan"), None)),
    ],
    ids=str,
)
def test_a_mistake_names_option_and_value(wrong: dict[str, Any]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(OptionError) as told:
        DaemonOptions(**wrong)
    assert f"option {name}: {value!r} is not allowed; it takes" in str(told.value)
    assert told.value.code == ExitCode.BAD_OPTION


@pytest.mark.parametrize(
    "right", [{"user": "nobody"}, {"user": 0}, {"group": 4133075255}, {"group": ["a", 1]}], ids=str
)
def test_names_and_numbers_are_taken(right: dict[str, Any]) -> None:
    DaemonOptions(**right)


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("/opt/app/mailer.py", "mailer"),
        ("mailer", "mailer"),
        ("./mailer.sh", "mailer.sh"),
        ("-c", "ghostd"),
        ("", "ghostd"),
        ("/", "ghostd"),
        ("/opt/app/__main__.py", "ghostd"),
    ],
)
def test_a_ghost_without_a_name_is_called_like_its_script(script: str, name: str) -> None:
    settled = DaemonOptions().settled(script, "/srv")
    assert (settled.name, settled.pidfile) == (name, f"/srv/{name}.pid")


def test_relative_paths_are_seen_from_where_it_was_started() -> None:
    settled = DaemonOptions(name="m", pidfile="run/m.pid", chdir="../data").settled(cwd="/srv/app")
    assert (settled.pidfile, settled.chdir) == ("/srv/app/run/m.pid", "/srv/data")
    settled = DaemonOptions(name="m", pidfile="/run/m.pid").settled(cwd="/srv/app")
    assert (settled.pidfile, settled.chdir) == ("/run/m.pid", "/")
    assert DaemonOptions(name="m").settled().pidfile == f"{os.getcwd()}/m.pid"


def test_a_start_may_take_as_long_as_a_boot_and_a_little_more() -> None:
    assert DaemonOptions().start_limit(120.0) == 125.0
    assert DaemonOptions(start_timeout=3.0).start_limit(120.0) == 3.0

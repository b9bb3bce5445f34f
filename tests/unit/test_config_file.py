"""A ghostd.toml is read strictly: each mistake is a ConfigError that names file, key, value and what is allowed."""

import os
from pathlib import Path

import pytest

from ghostd.config import problems, read_toml, toml_layer
from ghostd.errors import ConfigError, ExitCode, UserError
from tests.conftest import needs_root


def said(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    missing = [part for part in parts if part not in str(error.value)]
    assert not missing, f"{error.value} lacks {missing}"


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "ghostd.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ('spirits = "4"', "spirits", "a whole number"),
        ("spirits = 4.0", "spirits", "a whole number"),
        ("spirits = true", "spirits", "a whole number"),
        ("spirits = -1", "spirits", "at least 0"),
        ('heartbeat_timeout = "50"', "heartbeat_timeout", "a number of seconds"),
        ("heartbeat_timeout = nan", "heartbeat_timeout", "a number of seconds"),
        ("pidfile = 5", "pidfile", "a path"),
        ("pidfile = 2026-01-01", "pidfile", "a path"),
        ('umask = "022"', "umask", "0o777"),
        ("loglevel = 3", "loglevel", "one of "),
        ("user = [1]", "user", "a name or a number"),
        ("[spirits]\nx = 1", "spirits", "a whole number"),
        (f"spirits = 0x{'f' * 5000}", "spirits", "a whole number"),
        (f"heartbeat_timeout = {10**400}", "heartbeat_timeout", "a number of seconds"),
        ("logger = 5", "logger", "only a program"),
        ("target = 5", "target", "module:name"),
    ],
)
def test_a_wrong_type_in_the_file_is_an_error_that_names_file_key_and_what_is_allowed(
    tmp_path: Path, text: str, key: str, allowed: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        toml_layer(path)
    said(error, f"{path}:{key}", "is not allowed", allowed)
    assert error.value.code is ExitCode.BAD_CONFIG


def test_an_unknown_key_in_the_file_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    path = written(tmp_path, "heartbeat-timeout = 5")
    with pytest.raises(ConfigError) as error:
        toml_layer(path)
    said(error, f"{path}:heartbeat-timeout", "did you mean heartbeat_timeout?")


def test_the_target_is_a_key_of_the_file_but_no_option(tmp_path: Path) -> None:
    read = read_toml(written(tmp_path, 'target = "app:Mailer"\nspirits = 2'))
    assert read.target == "app:Mailer"
    assert dict(read.layer) == {"spirits": 2}


def test_a_relative_path_in_the_file_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 'pidfile = "run/x.pid"')
    monkeypatch.chdir(tmp_path.parent)
    assert toml_layer(f"{tmp_path.name}/ghostd.toml")["pidfile"] == str(tmp_path / "run/x.pid")


def test_all_problems_of_a_file_are_told(tmp_path: Path) -> None:
    told = problems(read_toml(written(tmp_path, 'spirits = "4"\nspare = 1\numask = -1\nbogus = 1')).layer)
    assert [type(problem) for problem in told] == [ConfigError] * 3


@pytest.mark.parametrize(
    "content", [b"spirits = ", b"\xff\xfe", b"a = 1\na = 2", b"a = " + b"[" * 100_000, b"\0", b"a = 9" + b"9" * 5000]
)
def test_a_file_that_is_no_toml_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ghostd.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        toml_layer(str(path))
    said(error, str(path))


def test_what_is_no_regular_file_is_an_error_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError) as error:
            toml_layer(str(path))
        said(error, str(path))
    with pytest.raises(ConfigError):
        toml_layer("a\0b")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ghostd.toml"
    path.write_text("# " + "x" * 1_100_000)
    with pytest.raises(ConfigError, match="at most 1048576"):
        toml_layer(str(path))


@needs_root
@pytest.mark.parametrize(
    ("mode", "gid", "refused"), [(0o666, 0, True), (0o664, 5, True), (0o664, 0, False), (0o644, 5, False)]
)
def test_root_refuses_a_file_that_others_may_write(tmp_path: Path, mode: int, gid: int, refused: bool) -> None:
    path = written(tmp_path, "spirits = 1")
    os.chown(path, 0, gid)
    os.chmod(path, mode)
    if refused:
        with pytest.raises(ConfigError, match="chmod go-w"):
            toml_layer(path)
    else:
        assert toml_layer(path) == {"spirits": 1}

"""Options from every place become one Config, or one error that names the line to mend. Never another exception."""

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostd.config import (
    Config,
    Layer,
    as_text,
    class_layer,
    environ_layer,
    gather,
    options,
    problems,
    toml_layer,
    trace,
)
from ghostd.config.flags import UNSPOKEN, add_flags, flag_layer, reference
from ghostd.core.policy import Policy
from ghostd.errors import ConfigError, OptionError, UserError
from ghostd.options import Kind


def flags(*words: str) -> Layer:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return flag_layer(parser.parse_args(words))


def said(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    missing = [part for part in parts if part not in str(error.value)]
    assert not missing, f"{error.value} lacks {missing}"


class Mailer:
    spirits = 3
    umask = 0o027
    postage = 12  # no option, and nobody's business

    def spirit(self) -> None: ...

    @property
    def name(self) -> str:  # an option's name, but a property is no value
        return "mailer"


class FastMailer(Mailer):
    workers = 30


# ── precedence ──
def test_nothing_said_gives_the_defaults() -> None:
    assert gather() == gather({"spirits": Policy().spirits}) == gather(gather().flat())
    assert gather().policy == Policy()


def test_flag_beats_environment_beats_file_beats_class_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "ghostd.toml"
    file.write_text("spirits = 5\nspare = 5\nheartbeat_timeout = 5\n")
    config = gather(
        flags("--spirits", "7"),
        environ_layer({"GHOSTD_SPIRITS": "6", "GHOSTD_SPARE": "6"}),
        toml_layer(str(file)),
        class_layer(Mailer),
    )
    assert (config.policy.spirits, config.policy.spare, config.policy.heartbeat_timeout) == (7, 6, 5.0)
    assert config.daemon.umask == 0o027
    assert config.policy.graceful_timeout == Policy().graceful_timeout


def test_workers_is_accepted_for_spirits() -> None:
    assert gather({"workers": 9}).policy.spirits == 9
    assert gather(flags("--workers", "9")).policy.spirits == 9
    assert gather(environ_layer({"GHOSTD_WORKERS": "9"})).policy.spirits == 9


def test_spirits_wins_over_workers_in_one_place() -> None:
    assert gather({"workers": 9, "spirits": 2}).policy.spirits == 2


def test_workers_in_a_stronger_place_wins_over_spirits_in_a_weaker_one() -> None:
    assert gather({"workers": 9}, {"spirits": 2}).policy.spirits == 9
    assert gather(class_layer(FastMailer)).policy.spirits == 30


def test_the_most_derived_class_wins_and_methods_and_properties_are_no_options() -> None:
    layer = class_layer(FastMailer)
    assert dict(layer) == {"spirits": 30, "umask": 0o027}
    assert layer.origin("umask") == "class Mailer"


def test_trace_tells_where_each_option_came_from() -> None:
    layers = (flags("--workers", "7"), environ_layer({"GHOSTD_UMASK": "077"}), {"spare": 1}, class_layer(Mailer))
    traced = trace(gather(*layers), *layers)
    assert list(traced) == list(options())

    def told(name: str) -> tuple[object, str]:
        return traced[name].value, traced[name].origin

    assert told("spirits") == (7, "--workers")
    assert told("umask") == (0o077, "GHOSTD_UMASK")
    assert told("spare") == (1, "keyword spare")
    assert told("young") == (Policy().young, "default")


# ── values ──
def test_seconds_are_floats_wherever_they_come_from() -> None:
    assert isinstance(gather({"heartbeat_timeout": 7}).policy.heartbeat_timeout, float)


def test_a_path_may_be_a_path_object() -> None:
    assert gather({"pidfile": Path("/run/x.pid")}).daemon.pidfile == "/run/x.pid"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("spirits", "8", 8),
        ("heartbeat_timeout", "1.5", 1.5),
        ("heartbeat_timeout", "1e2", 100.0),
        ("umask", "027", 0o027),
        ("umask", "0o27", 0o027),
        ("user", "1000", 1000),
        ("user", "www-data", "www-data"),
        ("pidfile", "/run/x.pid", "/run/x.pid"),
    ],
)
def test_a_text_is_read_by_the_kind_of_its_option(name: str, text: str, value: object) -> None:
    assert environ_layer({f"GHOSTD_{name.upper()}": text})[name] == value
    assert flags(f"--{name.replace('_', '-')}", text)[name] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("spirits", "8.0"),
        ("spirits", "eight"),
        ("spirits", "1_000"),
        ("spirits", "٣"),
        ("spirits", " 8"),
        ("spirits", "-1"),
        ("spirits", "9" * 5000),
        ("heartbeat_timeout", "1e"),
        ("heartbeat_timeout", "inf"),
        ("heartbeat_timeout", "nan"),
        ("heartbeat_timeout", "1e999"),
        ("heartbeat_timeout", "-1"),
        ("umask", "028"),
        ("umask", "1777"),
        ("loglevel", "bogus"),
    ],
)
def test_a_text_that_is_not_plainly_meant_is_an_error_that_names_it(name: str, text: str) -> None:
    variable, flag = f"GHOSTD_{name.upper()}", f"--{name.replace('_', '-')}"
    with pytest.raises(OptionError) as error:
        gather(environ_layer({variable: text}))
    said(error, f"option {name}: ", "is not allowed; it takes ", f"(from {variable})")
    with pytest.raises(OptionError) as error:
        gather(flags(f"{flag}={text}"))
    said(error, f"option {name}: ", f"(from {flag})")


def test_a_flag_of_a_yes_or_no_option_needs_no_value() -> None:
    for name in (name for name, opt in options().items() if opt.kind is Kind.FLAG):
        flag = f"--{name.replace('_', '-')}"
        assert flags(flag)[name] is True
        assert flags(f"{flag}=false")[name] is False


def test_an_empty_variable_counts_as_none() -> None:
    assert environ_layer({"GHOSTD_SPIRITS": ""}) == {}


# ── errors ──
def test_an_error_names_option_value_what_is_allowed_and_the_keyword() -> None:
    with pytest.raises(OptionError) as error:
        gather({"workers": 2.7})
    said(error, "option spirits: 2.7 is not allowed; it takes a whole number, at least 0", "(from keyword workers)")


def test_an_error_in_a_class_names_the_class_that_says_so() -> None:
    class Bad(Mailer):
        spirits = "many"  # type: ignore[assignment]

    with pytest.raises(OptionError) as error:
        gather(class_layer(Bad))
    said(error, "'many'", "Bad)")


def test_the_right_one_of_several_is_blamed() -> None:
    with pytest.raises(OptionError) as error:
        gather({"spirits": 3}, environ_layer({"GHOSTD_SPARE": "-1"}), {"young": 2.0})
    said(error, "option spare: -1", "(from GHOSTD_SPARE)")


def test_an_unknown_name_is_an_error_with_the_nearest_and_all() -> None:
    with pytest.raises(OptionError) as error:
        gather({"heartbeat_timout": 1})
    said(
        error, "'heartbeat_timout'", "did you mean heartbeat_timeout?", "keyword heartbeat_timout", "spirits", "pidfile"
    )


def test_a_variable_that_is_nearly_an_option_is_an_error() -> None:
    with pytest.raises(OptionError) as error:
        environ_layer({"GHOSTD_SPIRTS": "8"})
    said(error, "GHOSTD_SPIRTS", "did you mean GHOSTD_SPIRITS?")


def test_a_variable_of_somebody_else_is_left_alone() -> None:
    kubernetes = {
        "GHOSTD_SERVICE_HOST": "10.0.0.1",
        "GHOSTD_SERVICE_PORT": "80",
        "GHOSTD_PORT": "tcp://10.0.0.1:80",
        "GHOSTD_PORT_80_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert environ_layer(kubernetes) == {}


# ── total on bad input ──
NAMES = st.sampled_from(sorted(options()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES | st.text(), VALUES, max_size=6))
def test_any_values_give_a_config_or_an_error_of_the_users(values: dict[str, object]) -> None:
    layer = Layer(values, lambda key: f"file:{key}", ConfigError)
    try:
        assert isinstance(gather(layer), Config)
    except UserError:
        assert problems(layer)
    else:
        assert not problems(layer)


@given(st.dictionaries(NAMES.map(str.upper), st.text(), max_size=6), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_environment_gives_a_config_or_an_option_error(known: dict[str, str], any_: dict[str, str]) -> None:
    environ = {f"GHOSTD_{name}": text for name, text in (known | any_).items()}
    try:
        assert isinstance(gather(environ_layer(environ)), Config)
    except OptionError as error:
        told = str(error)
    else:
        told = "made"
    assert told


@given(name=NAMES, text=st.text(alphabet="0123456789.eE+-xo_ a[]{}\"'\n=#tfnu", max_size=30))
def test_any_text_as_a_toml_value_gives_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(f"{name} = {text}\n", encoding="utf-8")
    try:
        assert isinstance(gather(toml_layer(str(path))), Config)
    except ConfigError as error:
        told = str(error)
    else:
        told = str(path)
    assert str(path) in told


# ── one source ──
def test_each_option_that_a_text_can_give_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    told = parser.format_help()
    for name, opt in options().items():
        flag = f"--{name.replace('_', '-')}"
        assert (flag in told) is (opt.kind not in UNSPOKEN), flag


def test_the_reference_tells_each_option_with_its_default_and_reason() -> None:
    page = reference()
    for name, opt in options().items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert opt.help in row.replace("\\|", "|")
        assert opt.why in row.replace("\\|", "|")
    assert "| `umask` | file permission bits from 0 to 0o777 | `0022` | `--umask` `GHOSTD_UMASK` |" in page


def test_a_list_is_written_with_commas() -> None:
    assert as_text(["a", 5], options()["group"]) == "a,5"
    assert environ_layer({"GHOSTD_GROUP": "a, 5"}) == {"group": ["a", 5]}


def test_a_default_written_as_a_text_means_the_default() -> None:
    for name, value in gather().flat().items():
        opt = options()[name]
        if value is not None and opt.kind is not Kind.OBJECT:
            text = as_text(value, opt)
            assert not text or gather(environ_layer({f"GHOSTD_{name.upper()}": text})).flat()[name] == value

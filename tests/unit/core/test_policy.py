"""The numbers of a pool: every one has a default with a reason, and no value that is not allowed gets in."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ghostd.core.policy import Policy
from ghostd.errors import ExitCode, OptionError
from ghostd.options import Kind, Option, declared
from ghostd.record import fields

OPTIONS = declared(Policy)
NUMBERS = some.one_of(some.floats(), some.integers(), some.integers().map(float), some.booleans())

DEFAULTS_OF_THE_ANCESTOR = {
    "spirits": 4,
    "spare": 2,
    "heartbeat_interval": 5.0,
    "heartbeat_timeout": 50.0,
    "graceful_timeout": 120.0,
}


def made(name: str, value: object) -> Policy:
    return Policy(**{name: value})  # type: ignore[arg-type]


def allowed(option: Option, value: object) -> bool:
    """What the declaration says, told once more in other words."""
    if type(value) not in ((int,) if option.kind is Kind.WHOLE else (int, float)):
        return False
    assert isinstance(value, int | float)
    return not math.isnan(value) and option.least <= value <= option.most


@pytest.mark.parametrize(("name", "value"), DEFAULTS_OF_THE_ANCESTOR.items())
def test_the_ancestor_s_numbers_are_kept(name: str, value: float) -> None:
    assert getattr(Policy(), name) == value


@pytest.mark.parametrize("name", OPTIONS)
def test_every_number_is_an_option_with_help_a_reason_and_a_limit(name: str) -> None:
    option = OPTIONS[name]
    assert option.kind in (Kind.SECONDS, Kind.NUMBER, Kind.WHOLE)
    assert option.help.endswith(".")
    assert option.why
    assert not math.isinf(option.most) or name == "jitter_seed"


def test_every_field_is_an_option() -> None:
    assert list(OPTIONS) == list(fields(Policy))


@pytest.mark.parametrize("name", OPTIONS)
@given(value=NUMBERS)
def test_a_number_is_taken_if_and_only_if_it_is_allowed(name: str, value: float) -> None:
    option = OPTIONS[name]
    if allowed(option, value):
        assert getattr(made(name, value), name) == value
    else:
        with pytest.raises(OptionError, match=f"option {name}: .* is not allowed; it takes {option.kind.value}"):
            made(name, value)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [None, "4", [], {}, b"4", 1j, math.nan, math.inf, -math.inf, -1, True])
def test_nonsense_is_refused_before_anything_is_made(name: str, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        made(name, value)
    assert caught.value.code is ExitCode.BAD_OPTION


@pytest.mark.parametrize("name", OPTIONS)
def test_the_least_and_the_most_are_allowed_and_what_lies_just_outside_is_not(name: str) -> None:
    option = OPTIONS[name]
    whole = option.kind is Kind.WHOLE
    least: float = int(option.least) if whole else option.least
    assert getattr(made(name, least), name) == least
    with pytest.raises(OptionError):
        made(name, least - 1 if whole else math.nextafter(least, -math.inf))
    if not math.isinf(option.most):
        most: float = int(option.most) if whole else option.most
        assert getattr(made(name, most), name) == most
        with pytest.raises(OptionError):
            made(name, most + 1 if whole else math.nextafter(most, math.inf))


@pytest.mark.parametrize("name", [name for name in OPTIONS if not math.isinf(OPTIONS[name].most)])
@pytest.mark.parametrize("digits", [400, 6_000])
def test_a_number_that_no_float_can_hold_is_refused_like_any_other(name: str, digits: int) -> None:
    with pytest.raises(OptionError, match=f"option {name}: "):
        made(name, 10**digits)


def test_a_policy_cannot_be_changed_once_it_is_made() -> None:
    with pytest.raises(AttributeError, match="never changes"):
        Policy().spirits = 5  # type: ignore[misc]


def test_a_policy_is_made_by_names_only() -> None:
    with pytest.raises(TypeError):
        Policy(4)  # type: ignore[call-arg]


def test_silence_is_the_interval_and_the_timeout() -> None:
    assert Policy(heartbeat_interval=2.0, heartbeat_timeout=3.5).silence == 5.5

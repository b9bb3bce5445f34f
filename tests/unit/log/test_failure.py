"""An exception is told whatever state the process is in."""

import sys
import traceback

import pytest

from ghostd.log import failure


def fail() -> None:
    try:
        dict[str, int]()["first"]
    except KeyError as error:
        raise ValueError("second") from error


def failed() -> ValueError:
    with pytest.raises(ValueError, match="second") as caught:
        fail()
    return caught.value


def test_it_is_told_as_python_tells_it() -> None:
    error = failed()
    assert failure.told(error) == "".join(traceback.format_exception(error)).splitlines()


@pytest.mark.parametrize("why", [ImportError("not found"), OSError(24, "no descriptor is left"), MemoryError()])
def test_where_the_library_is_out_of_reach_the_places_are_told_without_it(
    monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    class Lost:
        @staticmethod
        def find_spec(*_: object) -> None:
            raise why

    monkeypatch.delitem(sys.modules, "traceback")
    monkeypatch.setattr(sys, "meta_path", [Lost])
    lines = failure.told(failed())
    monkeypatch.undo()
    assert lines.count("Traceback (most recent call last):") == 2
    assert lines.index("KeyError: 'first'") < lines.index("ValueError: second")
    assert f'  File "{__file__}", line {fail.__code__.co_firstlineno + 2}, in fail' in lines


def test_a_circle_of_exceptions_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    monkeypatch.setitem(sys.modules, "traceback", None)
    assert [line for line in failure.told(first) if "Error" in line] == ["ValueError: second", "ValueError: first"]

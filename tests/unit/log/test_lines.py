"""What a record looks like: one line whatever it says, in text or in JSON."""

import json
import os
import re
import time
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghostd.log.lines import LONGEST, JsonLines, TextLines, escape, plain

LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{5}\] \[(\d+)\] \[(\w+)\] (.*)\n", re.ASCII)


def text_of(line: bytes) -> str:
    found = LINE.fullmatch(line.decode())
    assert found, line
    return found[4]


# ── text ──
def test_a_line_has_local_time_pid_level_and_message() -> None:
    before = time.time_ns() // 10**9
    found = LINE.fullmatch(TextLines()("info", "Manager 7 started", {}).decode())
    after = time.time_ns() // 10**9
    assert found
    said = int(time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")))
    assert before <= said <= after
    assert (found[2], found[3], found[4]) == (str(os.getpid()), "info", "Manager 7 started")


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Asia/Kathmandu"])
def test_the_time_is_that_of_the_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)
        expected = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_700_000_000))
        assert TextLines()("info", "x", {}).startswith(f"[{expected}.12345] [".encode())
        assert json.loads(JsonLines()("info", "x", {}))["time"] == "2023-11-14T22:13:20.123456Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_new_second_is_never_shown_with_the_old_ones_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([5_999_999_999, 6_000_000_000, 4_000_000_000])  # it may also step back
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    lines = TextLines()
    shown = [lines("info", "x", {}).decode()[18:26] for _ in range(3)]
    assert shown == ["05.99999", "06.00000", "04.00000"]


def test_fields_stand_behind_the_text() -> None:
    fields = {"seat": 2, "why": "no heartbeat", "empty": "", "odd": 'a"b', "none": None, "equal": "a=b"}
    wanted = 'gone seat=2 why="no heartbeat" empty="" odd="a\\"b" none=None equal="a=b"'
    assert text_of(TextLines()("info", "gone", fields)) == wanted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\r\n\ttab", "two\\nlines\\r\\n\\ttab"),
        ("\x1b[31mred\x1b[0m \x00\x7f\x9b", "\\x1b[31mred\\x1b[0m \\x00\\x7f\\x9b"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("abc\u202eevil", "abc\\u202eevil"),  # it would turn the direction of what follows
        ("half \udc80", "half \\udc80"),
        ("\U000e0001", "\\U000e0001"),
        ("Grüße, мир, 世界, 👻", "Grüße, мир, 世界, 👻"),
        ("no\u00a0break", "no\u00a0break"),
    ],
)
def test_controls_are_shown_as_escapes_and_letters_as_they_are(text: str, shown: str) -> None:
    assert text_of(TextLines()("info", text, {})) == shown


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.floats(), max_size=3))
@example("x\n[2024-01-01 00:00:00.00000] [1] [info] forged", {"a\nb": "c\nd"})
def test_no_text_and_no_field_makes_a_second_line(text: str, fields: dict[str, object]) -> None:
    line = TextLines()("info", text, fields).decode()
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1
    assert all(one.isprintable() or one.isspace() for one in line)


def test_escaping_twice_changes_nothing_more() -> None:
    assert escape(escape("a\nb\u2028")) == escape("a\nb\u2028")


def test_a_text_has_a_longest_and_says_what_was_cut() -> None:
    shown = plain("x" * (LONGEST + 5), {})
    assert shown.endswith("x... (5 more characters)")
    assert json.loads(JsonLines()("info", "x" * (LONGEST + 5), {}))["message"].endswith("... (5 more characters)")


def test_a_traceback_is_lines_that_each_begin_like_a_record() -> None:
    told = TextLines()("error", "failed", {"seat": 1}, ("Traceback:", "  line\x1b")).decode()
    assert [text_of(f"{line}\n".encode()) for line in told.splitlines()] == [
        "failed seat=1",
        "Traceback:",
        "  line\\x1b",
    ]


# ── JSON ──
def test_json_has_the_four_keys_first_and_then_the_fields() -> None:
    line = JsonLines()("warn", "gone", {"seat": 2, "ages": [1.5, 2], "why": {"a": None}, "ok": True})
    record = json.loads(line)
    assert list(record) == ["time", "level", "pid", "message", "seat", "ages", "why", "ok"]
    assert (record["level"], record["pid"], record["message"]) == ("warn", os.getpid(), "gone")
    assert (record["seat"], record["ages"], record["why"], record["ok"]) == (2, [1.5, 2], {"a": None}, True)
    said = datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert abs(said.timestamp() - time.time_ns() / 1e9) < 5


def test_a_field_never_takes_the_place_of_one_of_the_four() -> None:
    record = json.loads(JsonLines()("warn", "true", {"message": "false", "pid": 0, "level": "info"}))
    assert (record["message"], record["message_"], record["pid_"], record["level_"]) == ("true", "false", 0, "info")


def test_what_json_has_no_form_for_is_its_text() -> None:
    assert json.loads(JsonLines()("info", "x", {"ghosts": ["👻"], "half": ["\ud800"]}))["ghosts"] == ["👻"]
    circle: list[object] = []
    circle.append(circle)
    fields = {"nan": float("nan"), "deep": [float("inf")], "thing": {1, 2}, "circle": circle, "key": {(1, 2): 3}}
    record = json.loads(JsonLines()("info", "x", fields))
    assert record["nan"] == "nan"
    assert record["deep"] == "[inf]"
    assert record["thing"] == "{1, 2}"
    assert record["circle"] == "[[...]]"
    assert record["key"] == "{(1, 2): 3}"


@given(st.text(), st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.floats() | st.none(), max_size=3))
@example("half \udc80", {"a": "\udfff", "b": ["\ud800"]})
def test_every_record_is_one_line_that_a_strict_reader_takes(text: str, fields: dict[str, object]) -> None:
    line = JsonLines()("info", text, fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert msgspec.json.decode(line)["level"] == "info"


def test_a_traceback_is_a_field_of_json() -> None:
    record = json.loads(JsonLines()("error", "failed", {}, ("Traceback:", "  line")))
    assert (record["message"], record["traceback"]) == ("failed", "Traceback:\n  line")

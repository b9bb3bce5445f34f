"""What is left in a manager of many lives and reloads: nothing. `python -m tests.faults.flatness` is the long form."""

import os

import pytest

from tests.faults.flatness import Held, begin, growth, held, live, reload
from tests.live.harness import Stage

pytestmark = pytest.mark.live

LONG = bool(os.environ.get("GHOSTD_LONG"))
LIVES = 10_000 if LONG else 1_500
RELOADS = 200 if LONG else 20


@pytest.mark.timeout(300)  # a slow machine may take its time for each life
def test_many_lives_and_reloads_leave_descriptors_threads_and_memory_as_they_were(stage: Stage) -> None:
    subject = begin(stage)
    before = held(subject)
    assert before.threads == 1
    live(stage, subject, LIVES)
    reload(stage, subject, RELOADS)
    assert growth(before, held(subject)) == []
    assert subject.quit() == 0


def test_what_has_grown_is_told() -> None:
    before = Held(descriptors=20, sockets=1, threads=1, mappings=90, zombies=0, rss_kib=20_000)
    assert growth(before, before._replace(mappings=92, rss_kib=20_300)) == []
    assert growth(before, before._replace(sockets=2)) == ["sockets: 1, then 2"]
    assert growth(before, before._replace(zombies=1, descriptors=21)) == [
        "descriptors: 20, then 21",
        "zombies: 0, then 1",
    ]
    assert len(growth(before, before._replace(rss_kib=21_100))) == 1

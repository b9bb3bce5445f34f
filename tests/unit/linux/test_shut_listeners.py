"""Every process that shares a listener sees that it was shut."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from ghostd.linux import listening


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=lambda one: one.name)
def test_a_listener_that_was_shut_says_so_through_every_descriptor(
    family: socket.AddressFamily, tmp_path: Path
) -> None:
    with socket.socket(family) as listener, closing(listener.dup()) as other:
        places = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
        listener.bind(places.get(family, str(tmp_path / "socket")))
        listener.listen()
        assert not listening.is_shut(listener)
        listening.admit_no_more(listener)
        assert listening.is_shut(listener) and listening.is_shut(other)

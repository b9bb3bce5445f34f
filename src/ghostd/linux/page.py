"""The page of a seat on the board: which word of it says what.

Apart from the board, because whoever looks at it from beside the ghost must not load what the board is made with.
"""

from __future__ import annotations

import os

from ghostd.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

PAGE: int = os.sysconf("SC_PAGE_SIZE")
WORD: Final = 8  # bytes
WORDS: Final = PAGE // WORD  # of a page; those from 6 up to the text are free

BEAT: Final = 0  # monotonic seconds of the last sign of life
BUSY_UNTIL: Final = 1  # monotonic seconds until which silence is announced
STATE: Final = 2  # the bits below, each set once by the spirit; none: it boots
READY: Final = 1
LEAVING: Final = 2
WORN: Final = 4
BEGUN: Final = 8  # its code cannot say that it is ready: it is when it has run for a while
TEXT_BYTES: Final = 3  # how long the text is that the page holds
IN_FLIGHT: Final = 4  # connections or requests in hand at this moment
SERVED: Final = 5  # those that were finished, since the spirit began

"""The ghost's log: one record, one write; a record that cannot be written is counted, and nothing waits for it.

Rule: no record makes a :class:`Log` block, raise for the state of the machine, or take a lock. The parts: ``options``
says what may be asked for, ``lines`` makes bytes of records, ``files``, ``streams``, ``syslog`` and ``bridge`` are
the places that records go to.
"""

from ghostd.log.log import Log
from ghostd.log.options import LEVELS, LogOptions

__all__ = ["LEVELS", "Log", "LogOptions"]

"""ghostd runs your Python code in a pool of pre-forked processes and keeps the pool whole.

The public names. Each is loaded when it is first used, so that importing ghostd costs next to nothing.
"""

TYPE_CHECKING = False  # type checkers believe that it is true; the module of that name costs milliseconds
if TYPE_CHECKING:
    from ghostd.config import Config
    from ghostd.core.snapshot import Snapshot, State
    from ghostd.daemon.pidfile import FilePid
    from ghostd.exits import Exit
    from ghostd.ghost import Ghost
    from ghostd.log import Log
    from ghostd.prefork import Prefork
    from ghostd.server import Server

__all__ = ["Config", "Exit", "FilePid", "Ghost", "Log", "Prefork", "Server", "Snapshot", "State"]
__version__ = "0.1.0"

_HOMES = {
    "Config": "ghostd.config",
    "Exit": "ghostd.exits",
    "FilePid": "ghostd.daemon.pidfile",
    "Ghost": "ghostd.ghost",
    "Log": "ghostd.log",
    "Prefork": "ghostd.prefork",
    "Server": "ghostd.server",
    "Snapshot": "ghostd.core.snapshot",
    "State": "ghostd.core.snapshot",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ghostd' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(__import__(_HOMES[name], fromlist=(name,)), name)

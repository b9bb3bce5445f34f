"""Class Server: a pool whose spirits serve a web application, ASGI or WSGI, with a server that many know.

The manager never loads the server, and the application only with ``preload``. A spirit imports the application, finds
out what it is, and hands it with the ghost's sockets to one module of ``ghostd.integrations``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

from ghostd import program
from ghostd.daemon import trial
from ghostd.errors import OptionError, TargetError
from ghostd.hints import TYPE_CHECKING
from ghostd.prefork import Prefork
from ghostd.serve import passing
from ghostd.serve.job import DEFAULTS, SERVERS, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ghostd.serve.job import ServerModule


class Server(Prefork):
    """A daemon whose spirits serve an ASGI or WSGI application: ``Server("module:app", listen=":8080").run()``.

    ``app`` is a target, imported in each spirit so that a reload renews the code, or the application itself, which
    stays what it is. Options: all of :class:`Prefork`; those of the web are in docs/reference/serve.md.
    """

    serves_web = True  # so that attributes of the class may be options of the web

    def __init__(self, app: str | program.Target | Callable[..., Any], **options: object) -> None:
        target = program.seek(program.parse(app)) if isinstance(app, str) else app
        self._target = target if isinstance(target, program.Target) else None
        self._found: object = None if self._target is not None else app
        self._text = self._target.text if self._target is not None else repr(app)
        self._made: Callable[..., Any] | None = None  # the application, once it is there
        super().__init__(None, **options)
        self._options = {name: passing.settled(getattr(self.config.web, name) or {}, os.getcwd()) for name in SERVERS}
        if not self.config.serve.listen:
            raise OptionError("option listen: a server needs an address, as in --listen 127.0.0.1:8080")

    # ── in the starter ──
    def _open(self) -> None:
        if self._target is not None:
            program.check(self._target)
        web = self.config.web
        wanted = DEFAULTS.get(web.interface.rstrip("2")) if web.server == "auto" else web.server
        for name in SERVERS:
            if name == wanted or self._options[name]:
                check_installed(name)
                trial.attempt(lambda name=name: passing.check(name, self._options[name], load(name)))  # type: ignore[misc]
        super()._open()

    # ── in the manager ──
    def startup(self) -> None:
        """Import the application before the first fork, if that is wanted; then run the pool."""
        if self.config.web.preload:
            self._made = self._application()
        super().startup()

    # ── in a spirit ──
    def spirit(self) -> None:
        """Serve until the spirit is asked to leave."""
        from ghostd.serve import find  # noqa: PLC0415  never in the manager
        from ghostd.serve.manners import Manners  # noqa: PLC0415
        from ghostd.spirit.speaker import Speaker  # noqa: PLC0415

        web = self.config.web
        app = self._made or self._application()
        interface = find.interface_of(app, self._text) if web.interface == "auto" else web.interface
        if interface == "asgi2":
            from ghostd.serve import asgi  # noqa: PLC0415  asyncio, which a spirit of WSGI does without

            app, interface = asgi.from_asgi2(app), "asgi"
        name = self._server_for(interface)
        assert self._context is not None, "a spirit has a voice"
        job = Job(
            app=app,
            interface=interface,
            sockets=self.sockets,
            backlog=self.config.serve.backlog,
            voice=Speaker(self._context, self.log),
            manners=Manners.of(self.config.policy, self.config.serve),
            grace=web.keepalive_grace,
            options=self._options[name],
            loop_factory=self._loop_factory(),
        )
        load(name).serve(job)

    def _application(self) -> Callable[..., Any]:
        from ghostd.serve import find  # noqa: PLC0415  in the manager only to preload

        if self._target is None:
            return find.made(self._found, self._text, factory=self.config.web.factory)
        found = program.fetch(self._target)
        with program.Loading(self._target):
            return find.made(found, self._text, factory=self.config.web.factory)

    def _server_for(self, interface: str) -> str:
        name = self.config.web.server
        if name == "auto":
            return DEFAULTS[interface]
        if interface not in SERVERS[name].interfaces:
            able = ", ".join(one for one, kind in SERVERS.items() if interface in kind.interfaces)
            raise OptionError(f"option server: {name} serves no {interface.upper()}, which {self._text} is; {able} do")
        return name


def check_installed(name: str) -> None:
    """Raise TargetError, naming the extra, unless the server is installed; does not load it."""
    if importlib.util.find_spec(name) is None:
        extra = SERVERS[name].extra
        raise TargetError(f"the server {name} is not installed: pip install 'ghostd[{extra}]'")


def load(name: str) -> ServerModule:
    """The module that runs a server; TargetError when it is not installed."""
    check_installed(name)
    module: ServerModule = importlib.import_module(f"ghostd.integrations.{name}")
    return module

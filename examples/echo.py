"""An echo server on a unix socket: the answer to one connection is all that is written.

Run:   python examples/echo.py start; echo hello | nc -NU echo.sock
Seen:  hello. Keep a connection open (nc -U echo.sock) and reload: it is closed when nothing is under way, and the next
       one is answered by a new spirit; nobody who connects meanwhile is refused. The socket file goes with the ghost.

A spirit answers four at a time, in threads; a fifth connection waits for one of them, or goes to the other spirit.
"""

import sys

from ghostd import Prefork
from ghostd.serve.connection import Connection


class Echo(Prefork):
    name = "echo"
    logfile = "echo.log"
    listen = "unix:echo.sock?mode=600"
    spirits = 2
    connections = 4
    idle_timeout = 20.0  # who says nothing for so long is sent away

    def connection(self, sock: Connection, _address: object) -> None:
        while data := sock.recv(65536):  # the first word is waited for, whatever happens: who has come is answered
            sock.sendall(data)
            if not sock.wait_readable():  # the spirit was asked to leave, and nothing is under way
                return


if __name__ == "__main__":
    sys.exit(Echo().ctrl(sys.argv[1:]))

"""Servers of WSGI that have no command of their own: ``python -m bench.serve.alone NAME PORT``, one process."""

import importlib
import sys

from bench.serve.apps import wsgi

if __name__ == "__main__":
    server, port = importlib.import_module(sys.argv[1]), int(sys.argv[2])
    server.run(wsgi, "127.0.0.1", port)

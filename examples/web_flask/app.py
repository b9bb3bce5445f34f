"""A Flask application, made by a function. It knows nothing of ghostd."""

import os
import time

from flask import Flask

GREETING = "hello"


def create_app() -> Flask:
    """The application: called in each spirit, and anew in those of a reload."""
    app = Flask(__name__)

    @app.get("/")
    def hello() -> dict[str, object]:
        return {"greeting": GREETING, "pid": os.getpid()}

    @app.get("/slow")
    def slow() -> dict[str, object]:
        time.sleep(1.0)  # a query, a report: who has asked for it gets it, though its spirit was asked to leave
        return {"greeting": f"{GREETING}, at last", "pid": os.getpid()}

    return app

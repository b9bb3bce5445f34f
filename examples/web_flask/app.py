"""A Flask application, made by a function. It knows nothing of ghostd."""

import os
import time

from flask import Flask

GREETING = "hello"
SLOW = float(os.environ.get("SLOW", "1.0"))  # seconds


def create_app() -> Flask:
    """The application: called in each spirit, and anew in those of a reload."""
    app = Flask(__name__)

    @app.get("/")
    def hello() -> dict[str, object]:
        return {"greeting": GREETING, "pid": os.getpid()}

    @app.get("/slow")
    def slow() -> dict[str, object]:
        time.sleep(SLOW)  # a query, a report: who has asked for it gets it, though its spirit was asked to leave
        return {"greeting": f"{GREETING}, at last", "pid": os.getpid()}

    return app

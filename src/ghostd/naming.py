"""What the text of a target tells by itself. Loads next to nothing: the short way of the commands asks it too."""

import os


def is_file_target(place: str) -> bool:
    """Whether the place of a target is a file rather than a module."""
    return place.endswith(".py") or "/" in place


def stem(text: str) -> str:
    """The name of a ghost that has none, by its target: of ``app.jobs:run`` and ``app/jobs.py:run`` it is ``jobs``."""
    place = text.rpartition(":")[0] or text
    return os.path.basename(place).removesuffix(".py") if is_file_target(place) else place.rpartition(".")[2]

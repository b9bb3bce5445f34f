"""Feeds targets with what a fuzzer thinks of, guided by which lines of ghostd it reaches.

    python -m tests.fuzz TARGET|all MINUTES [FOLDER]

Begins with the corpus of the target. FOLDER keeps what reaches new lines; by default a temporary one. Ends with 0 when
nothing was found; an input that breaks a promise is told, and left as ``crash-*`` in the folder.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TRIES = 5  # a machine that does something else in between is no fault of the target
SLOWER = 10  # by so much, with every line watched


def main(words: list[str]) -> int:
    """One target in this process, or all of them in processes of their own."""
    name, minutes, *folder = words
    place = Path(folder[0] if folder else tempfile.mkdtemp(prefix="ghostd-fuzz-"))
    if name != "all":
        (place / name).mkdir(parents=True, exist_ok=True)
        fuzz(name, float(minutes) * 60, place / name)
    failed = []
    names = sorted(folder.name for folder in CORPUS.iterdir())
    for one in names:
        share = float(minutes) / len(names)
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", one, str(share), str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        runs = [line.rpartition(" ")[2] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        say(f"{one:16} {'fine' if done.returncode == 0 else 'FAILED':8} {' '.join(runs):>12} inputs")
        if done.returncode != 0:
            failed.append(one)
            say(f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    say(f"inputs that reached something new are in {place}")
    return int(bool(failed))


def say(text: str) -> None:
    """Tell whoever runs it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fuzz(name: str, seconds: float, place: Path) -> None:
    """Feed one target; ends the process."""
    import atheris  # an extra of its own

    with atheris.instrument_imports(include=["ghostd", "tests.fuzz.targets"]):
        from tests.fuzz.targets import LONGEST, TARGETS

    target = TARGETS[name]

    def one(data: bytes) -> None:
        took: list[float] = []
        while not took or (took[-1] > LONGEST * SLOWER and len(took) < TRIES):
            begun = time.perf_counter()
            target(data)
            took.append(time.perf_counter() - begun)
        assert min(took) <= LONGEST * SLOWER, f"{min(took):.3f} s for {len(data)} bytes"

    options = (f"-max_total_time={max(int(seconds), 1)}", "-max_len=2048", f"-artifact_prefix={place}/")
    atheris.Setup([name, str(place), str(CORPUS / name), *options, "-print_final_stats=1"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

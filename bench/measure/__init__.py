"""One module a figure; each has ``measure(bench) -> Iterator[Figure]`` and cleans up what it starts."""

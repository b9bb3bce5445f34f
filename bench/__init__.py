"""The benchmark of ghostd: each figure beside its baseline in the same run, for a time of another day says nothing."""

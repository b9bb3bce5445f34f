"""The word mill: a real job under a pool of spirits, and the proof that nothing was lost. README.md tells it."""

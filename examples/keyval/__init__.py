"""A server that speaks the protocol of Redis from a store that all spirits share. README.md tells it."""

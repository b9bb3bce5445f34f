"""ghostd runs your Python code in a pool of pre-forked processes and keeps the pool whole."""

__version__ = "0.1.0"

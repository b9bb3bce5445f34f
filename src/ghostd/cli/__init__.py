"""TYPES: the command. Everything that it prints is printed here; nothing below prints."""

"""LISTENS. Sockets that all spirits of a pool share, and what answers on them inside a spirit."""

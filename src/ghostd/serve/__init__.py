"""LISTENS. Addresses, the sockets that the manager opens for them once, and what answers on them inside a spirit."""

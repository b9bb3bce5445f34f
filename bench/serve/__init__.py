"""Measures web servers: requests, latencies and losses."""

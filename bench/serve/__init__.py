"""Measures web servers: requests, latencies and losses."""

SPIRITS = "spirits"  # the folder in which those that have loaded the application leave their pids
BODY = b"Hello, world!"
RACK = """\
File.write(ENV["BENCH_FOLDER"] + "/spirits/#{Process.pid}", "")
run ->(_environ) { [200, {"Content-Type" => "text/plain", "Content-Length" => "13"}, ["Hello, world!"]] }
"""

"""Measures web servers: requests, latencies and losses."""

SPIRITS = "spirits"  # the folder in which those that have loaded the application leave their pids
MARKS = "marks"  # the file of words of four bytes: who has begun the request of that number
MOST_MARKS = 1 << 22  # requests; the file is sparse
BODY = b"Hello, world!"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b"
KEPT = _ANSWER % (len(BODY), b"", BODY)
LAST = _ANSWER % (len(BODY), b"Connection: close\r\n", BODY)
RACK = """\
File.write(ENV["BENCH_FOLDER"] + "/spirits/#{Process.pid}", "")
marks = File.open(ENV["BENCH_FOLDER"] + "/marks", "r+b")
pid = [Process.pid].pack("L")
hello = [200, {"Content-Type" => "text/plain", "Content-Length" => "13"}, ["Hello, world!"]]
run ->(environ) { marks.pwrite(pid, 4 * environ["PATH_INFO"][1..].to_i); hello.dup }
"""

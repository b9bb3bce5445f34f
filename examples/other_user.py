"""A daemon that is started by root, lives as another user, and logs to syslog.

Run:   sudo python examples/other_user.py start     (USER_TO_BE=www-data picks another user than nobody)
Seen:  journalctl -t other_user, or /var/log/daemon.log, names the user it has become; ``id -nG USER`` has its groups.
       Without the right to change the user, ``start`` says so and ends with exit code 77.

The pidfile is root's: it is written before the rights are given away, and ``stop``, run by root, clears it away.
"""

import os
import sys
import time

from ghostd import Ghost


class OtherUser(Ghost):
    name = "other_user"
    user = os.environ.get("USER_TO_BE", "nobody")
    facility = "daemon"  # without logfile, loghandle and logger the log goes to syslog

    def startup(self) -> None:
        self.log.notice(f"I am uid {os.getuid()}, gid {os.getgid()}, with the groups {os.getgroups()}")
        while self.ok:
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(OtherUser().ctrl(sys.argv[1:]))

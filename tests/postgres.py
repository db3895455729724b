"""Throw-away PostgreSQL servers of other versions: TCP on 127.0.0.1, TLS only, passwords, gone afterwards.

    with postgres.serving(version=15) as server:
        os.environ["AUDIT_URL"] = server.url()

Debian's server is taken where it has the wanted version, else what .ci/postgres-version fetches.
"""

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent

SUPERUSER, OWNER, DATABASE = "admin", "audit_owner", "audit"
# What a URL must encode, what a shell, a format string and Python's % would touch.
PASSWORDS = {SUPERUSER: "admin's: {p}$ss", OWNER: "p@ss/w:rd%"}

# As an administrator would set it up: the owner is no superuser and acts as the application's roles.
ROLES = """
    CREATE ROLE {owner} LOGIN NOSUPERUSER NOBYPASSRLS CREATEDB CREATEROLE PASSWORD {password};
    CREATE ROLE app_rw NOLOGIN;
    CREATE ROLE app_ro NOLOGIN;
    GRANT app_rw, app_ro TO {owner};
"""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "ssl": "on",
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "password_encryption": "scram-sha-256",
    "fsync": "off",  # the data lives as long as one test
    "shared_buffers": "64MB",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Server:
    """A running server.

    certificate  the self-signed certificate, for sslmode=verify-full with sslrootcert
    """

    version: int
    port: int
    certificate: Path
    passwords: Mapping[str, str] = field(default_factory=lambda: PASSWORDS, repr=False)

    def url(
        self,
        user: str = OWNER,
        *,
        password: str | None = None,
        database: str = DATABASE,
        sslmode: str = "require",
        scheme: str = "postgresql",
        **options: str,
    ) -> str:
        """The URL of a role and a database; without a password the role's right one.

        options  more of libpq's words, for example sslrootcert
        """
        secret = quote(self.passwords[user] if password is None else password, safe="")
        words = {"sslmode": sslmode, **options}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in words.items())
        return f"{scheme}://{user}:{secret}@127.0.0.1:{self.port}/{database}?{query}"

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER, database="postgres")

    def create_database(self, name: str, *, owner: str = OWNER, template: str = "template1") -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
        with self.superuser() as connection:
            connection.execute(statement.format(*map(sql.Identifier, (name, template, owner))))

    @contextlib.contextmanager
    def superuser(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """What only an administrator may do; each statement commits itself."""
        with psycopg.connect(self.url(SUPERUSER, database=database), autocommit=True) as connection:
            yield connection


@contextlib.contextmanager
def serving(*, version: int, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A new server of this major version with the role and the empty database of an audit.

    settings  more settings of the server
    The test is skipped where no such server can be had, which CI forbids.
    """
    binaries = _binaries(version)
    with _data_folder() as data:
        _initialise(binaries, data, SETTINGS | dict(settings or {}))
        port = _start(binaries, data)
        try:
            server = Server(version, port, data.parent / "server.crt")
            _make_roles(server)
            yield server
        finally:
            _execute(binaries / "pg_ctl", "stop", "--mode", "fast", "--wait", "--pgdata", data)


def _binaries(version: int) -> Path:
    for folder in _installed():
        if _version(folder) == version:
            return folder
    fetched = subprocess.run(
        [sys.executable, ROOT / ".ci" / "postgres-version", str(version)], capture_output=True, text=True, check=False
    )
    if fetched.returncode != 0:
        pytest.skip(f"there is no PostgreSQL {version}: {fetched.stderr.strip()}")
    return Path(fetched.stdout.strip())


def _version(binaries: Path) -> int:
    done = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return int(re.split(r"\D", done.stdout.split()[2])[0])


def _installed() -> list[Path]:
    """Folders with a whole server: pg_config's, then Debian's of all versions."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        folders.insert(0, Path(done.stdout.strip()))
    return [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]


def _server_user() -> str | None:
    """PostgreSQL does not run as root: then the embedded server's user runs it, or Debian's."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("pgserver", "postgres", "nobody") if name in known)


@contextlib.contextmanager
def _data_folder() -> Iterator[Path]:
    """A folder that the server's user owns; the certificate lies beside it, for clients."""
    folder = Path(tempfile.mkdtemp(prefix="gatebook-postgres-"))
    try:
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        _give(data)
        yield data
    finally:
        shutil.rmtree(folder)


def installed_version() -> int:
    """The major version of the server that is installed here, Debian's or another.

    The test is skipped where there is none, which CI forbids.
    """
    for folder in _installed():
        return _version(folder)
    pytest.skip("there is no PostgreSQL installed")


def has_extension(version: int, name: str) -> bool:
    """Whether the server of this version can make the extension."""
    program = _binaries(version) / "pg_config"
    if not program.exists():
        return False
    done = subprocess.run([program, "--sharedir"], capture_output=True, text=True, check=True)
    return (Path(done.stdout.strip()) / "extension" / f"{name}.control").exists()


def _initialise(binaries: Path, data: Path, settings: Mapping[str, str]) -> None:
    secret = data.parent / "password"
    secret.write_text(PASSWORDS[SUPERUSER])
    _give(secret)
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--pwfile", secret]
    _execute(binaries / "initdb", *options, "--username", SUPERUSER, "--pgdata", data)
    secret.unlink()
    _make_certificate(data)
    lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(lines)
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")


def _make_certificate(data: Path) -> None:
    certificate, key = data.parent / "server.crt", data / "server.key"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-newkey", "rsa:2048", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    shutil.copy(certificate, data)
    for file in (key, data / certificate.name):
        file.chmod(0o600)
        _give(file)


def _start(binaries: Path, data: Path) -> int:
    """Start on a free port; another process may take it in the meantime, so more than one is tried."""
    for attempt in range(3):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        log = data / "server.log"
        try:
            _execute(binaries / "pg_ctl", "start", "--wait", "--pgdata", data, "--log", log, "--options", f"-p {port}")
        except AssertionError:
            if attempt == 2:
                raise
            continue
        return port
    raise AssertionError("no free port")


def _make_roles(server: Server) -> None:
    with server.superuser() as connection:
        owner, password = sql.Identifier(OWNER), sql.Literal(PASSWORDS[OWNER])
        connection.execute(sql.SQL(ROLES).format(owner=owner, password=password))
    server.create_database(DATABASE)


def _give(path: Path) -> None:
    user = _server_user()
    if user is not None:
        shutil.chown(path, user=user)


def _execute(program: Path, *arguments: str | Path) -> None:
    with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open in the server that pg_ctl starts
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=_server_user(),
            cwd="/", check=False,
        )  # fmt: skip
        output.seek(0)
        assert done.returncode == 0, f"{program.name} failed: {output.read()}"

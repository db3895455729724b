"""The embedded server: made, shared, mended and stopped, whatever happens to those who use it."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from conftest import ROOT, Databases
from gatebook import embedded
from gatebook.database import Database, open_database, recreate
from gatebook.embedded import OWNER, SUPERUSER, EmbeddedServer
from gatebook.errors import ConfigurationError, ServerFailed
from gatebook.project import Project

pytestmark = pytest.mark.server

NOBODY = "nobody"

# A user of the server in a process of its own: says the postmaster's pid and stays until its input ends.
USER = """
import sys
from pathlib import Path
from gatebook.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1])).acquire()
print((server.data / "postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an initialised, stopped server, to copy."""
    own_home = tmp_path_factory.mktemp("made")
    server = EmbeddedServer(own_home)
    started = time.perf_counter()
    server.acquire()
    print(f"\nthe embedded server was made and started in {time.perf_counter() - started:.2f} s")
    server.release()
    until_stopped(server)
    return own_home


@pytest.fixture
def own_home(made: Path, tmp_path: Path) -> Path:
    """A stopped server's home of the test's own."""
    copy_with_owners(made, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def running(own_home: Path) -> Iterator[EmbeddedServer]:
    """A running server of the test's own."""
    started = time.perf_counter()
    server = EmbeddedServer(own_home).acquire()
    print(f"\nthe embedded server was started in {time.perf_counter() - started:.2f} s")
    yield server
    server.release()
    until_stopped(server)


@contextlib.contextmanager
def user_process(own_home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that uses the server, and the postmaster that it found."""
    words = [sys.executable, "-c", USER, str(own_home)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def copy_with_owners(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def wait_until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)


def is_stopped(server: EmbeddedServer) -> bool:
    return not (server.data / "postmaster.pid").exists() and not server.is_running()


def until_stopped(server: EmbeddedServer) -> None:
    """Its folder in the temporary folder goes too."""
    wait_until(lambda: is_stopped(server))
    shutil.rmtree(server.socket_folder, ignore_errors=True)


def postmaster(server: EmbeddedServer) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


def is_alive(pid: int) -> bool:
    """Not a zombie either: in a container nobody may collect those."""
    done = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def execute(server: EmbeddedServer, statement: str, *, database: str = "gatebook") -> list[tuple[object, ...]]:
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


# -- where it lives


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("größe, 日本 und Leerzeichen", id="blanks-and-letters"),
        pytest.param("n" * 130, id="130-characters"),
        pytest.param('it\'s "odd" `exit 1` $HOME \\ %d', id="what-a-shell-would-read"),
    ],
)
def test_lives_in_any_folder(made: Path, tmp_path: Path, name: str) -> None:
    copy_with_owners(made, tmp_path / name)
    server = EmbeddedServer(tmp_path / name).acquire()
    with psycopg.connect(server.conninfo(user=SUPERUSER)) as connection:
        assert connection.execute("SHOW data_directory").fetchone() == (str(server.data),)
    server.release()
    until_stopped(server)


def test_is_made_in_any_folder(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "größe und Leerzeichen" / ("n" * 120)).acquire()
    assert execute(server, "SELECT 1") == [(1,)]
    server.release()
    until_stopped(server)


def test_variables_of_libpq_do_not_lead_elsewhere(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "6543", "PGHOST": "nowhere.invalid", "PGDATABASE": "x", "PGDATA": "/x"}.items():
        monkeypatch.setenv(name, value)
    server = EmbeddedServer(own_home).acquire()
    monkeypatch.undo()
    assert execute(server, "SELECT current_database()::text, current_setting('port')") == [("gatebook", "5432")]
    server.release()
    until_stopped(server)


# -- who uses it


def test_owner_sees_what_users_see(running: EmbeddedServer) -> None:
    attributes = "rolsuper, rolbypassrls, rolcreaterole, rolreplication, rolcreatedb"
    assert execute(running, f"SELECT {attributes} FROM pg_roles WHERE rolname = current_user") == [
        (False, False, False, False, True)
    ]
    owner = "SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'gatebook'"
    assert execute(running, owner) == [(OWNER,)]


def test_nobody_else_can_connect(running: EmbeddedServer) -> None:
    assert execute(running, "SHOW listen_addresses") == [("",)]
    assert running.socket_folder.stat().st_mode & 0o077 == 0


def test_two_processes_share_one_server(own_home: Path) -> None:
    server = EmbeddedServer(own_home)
    with user_process(own_home) as (first, one), user_process(own_home) as (second, other):
        assert one == other
        first.communicate()
        assert is_alive(one)
        assert execute(server, "SELECT 1") == [(1,)]
        second.communicate()
        until_stopped(server)
    assert not is_alive(one)


def test_stops_after_its_last_user_was_killed(own_home: Path) -> None:
    server = EmbeddedServer(own_home)
    with user_process(own_home) as (first, one), user_process(own_home) as (second, _):
        first.kill()
        first.wait()
        time.sleep(0.3)
        assert execute(server, "SELECT 1") == [(1,)]
        second.kill()
        until_stopped(server)
    assert not is_alive(one)


def test_comes_and_goes_without_a_pause(own_home: Path) -> None:
    """A new user may come while the companion stops the server after the last one."""
    for _ in range(4):
        server = EmbeddedServer(own_home).acquire()
        assert execute(server, "SELECT 1") == [(1,)]
        server.release()
    until_stopped(server)


# -- what it mends


def test_server_was_killed(own_home: Path, running: EmbeddedServer) -> None:
    execute(running, "CREATE TABLE kept AS SELECT 1 AS one")
    killed = postmaster(running)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed))
    assert (running.data / "postmaster.pid").exists()
    again = EmbeddedServer(own_home).acquire()
    assert postmaster(again) != killed
    assert execute(again, "SELECT one FROM kept") == [(1,)]
    again.release()


def test_server_was_killed_while_it_worked(own_home: Path, running: EmbeddedServer) -> None:
    """A backend that is busy outlives its postmaster, and keeps a new one from starting until it is ended."""
    busy = psycopg.connect(running.conninfo(), autocommit=True)
    execute(running, "CREATE TABLE kept AS SELECT 1 AS one")
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 100000000000) a WHERE a::text = ''")
    time.sleep(0.3)
    os.kill(postmaster(running), signal.SIGKILL)
    again = EmbeddedServer(own_home).acquire()
    assert execute(again, "SELECT one FROM kept") == [(1,)]
    again.release()
    busy.close()


def test_pid_was_reused_by_another_process(own_home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        leave_pid_file(own_home, stranger.pid)
        server = EmbeddedServer(own_home).acquire()
        assert execute(server, "SELECT 1") == [(1,)]
        assert stranger.poll() is None
        server.release()
        until_stopped(server)
        stranger.kill()


def test_pid_was_reused_by_another_server(own_home: Path, databases: Databases) -> None:
    other = databases.server.server_process
    assert other is not None
    pid = postmaster(other)
    leave_pid_file(own_home, pid)
    server = EmbeddedServer(own_home).acquire()
    assert execute(server, "SELECT 1") == [(1,)]
    assert is_alive(pid)
    assert postmaster(other) == pid
    assert other.is_running()
    server.release()
    until_stopped(server)


def leave_pid_file(own_home: Path, pid: int) -> None:
    (own_home / "server" / "data" / "postmaster.pid").write_text(f"{pid}\n{own_home}\n1700000000\n5432\n/tmp\n\n0 0\n")


def test_socket_folder_was_lost(own_home: Path, running: EmbeddedServer) -> None:
    """Temporary folders are cleaned up by others."""
    execute(running, "CREATE TABLE kept AS SELECT 1 AS one")
    shutil.rmtree(running.socket_folder)
    again = EmbeddedServer(own_home).acquire()
    assert execute(again, "SELECT one FROM kept") == [(1,)]
    again.release()


def test_data_was_removed_under_a_running_server(own_home: Path, running: EmbeddedServer) -> None:
    """`make clean` while somebody still uses the running."""
    ghost = postmaster(running)
    shutil.rmtree(running.folder)
    again = EmbeddedServer(own_home).acquire()
    assert execute(again, "SELECT 1") == [(1,)]
    assert not is_alive(ghost)
    again.release()


def test_initdb_was_killed(tmp_path: Path) -> None:
    """The user is killed while initdb runs; initdb itself lives on for a moment and must not be in the way."""
    own_home = tmp_path / "home"
    words = [sys.executable, "-c", USER, str(own_home)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: any(own_home.glob("server/data.partial-*/base")))
        process.kill()
    assert not (own_home / "server" / "data").exists()
    server = EmbeddedServer(own_home).acquire()
    assert execute(server, "SELECT 1") == [(1,)]
    assert not list(server.folder.glob("data.partial-*/PG_VERSION"))
    server.release()
    until_stopped(server)


def test_start_was_killed_before_the_roles_were_made(own_home: Path, running: EmbeddedServer) -> None:
    with psycopg.connect(running.conninfo("postgres", user=SUPERUSER), autocommit=True) as connection:
        connection.execute("DROP DATABASE gatebook")
        connection.execute(f"DROP OWNED BY {OWNER}")
        connection.execute(f"DROP ROLE {OWNER}, app_rw, app_ro")
    os.kill(postmaster(running), signal.SIGKILL)
    again = EmbeddedServer(own_home).acquire()
    assert execute(again, "SELECT pg_has_role('app_rw', 'USAGE'), pg_has_role('app_ro', 'USAGE')") == [(True, True)]
    again.release()


# -- whose it is


def test_folder_of_somebody_else(made: Path, tmp_path: Path) -> None:
    """Root's folder for an ordinary user; without root, a folder that may not be written."""
    theirs = tmp_path / "theirs"
    copy_with_owners(made, theirs)
    for lock in theirs.glob("*.lock"):  # to be made anew, where that is not allowed
        lock.unlink()
    theirs.chmod(0o755 if os.geteuid() == 0 else 0o555)
    done = acquire_as_ordinary_user(theirs, tmp_path)
    theirs.chmod(0o755)
    assert done.returncode == 1
    last = done.stderr[done.stderr.index("gatebook.errors.ServerFailed: ") :]
    assert "the folder of the embedded server cannot be used: " in last
    assert f"where: {theirs.resolve() / 'server'}" in last
    assert "next:  run as the user who owns that folder, or set GATEBOOK_HOME to a folder of your own" in last


def test_ordinary_user(tmp_path: Path) -> None:
    """As root, PostgreSQL runs as a system user; everybody else runs it as themselves."""
    own_home = tmp_path / "home"
    own_home.mkdir()
    if os.geteuid() == 0:
        shutil.chown(own_home, NOBODY)
    done = acquire_as_ordinary_user(own_home, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    server_user, me = done.stdout.split()
    assert server_user == me
    if os.geteuid() == 0:
        with pytest.raises(ServerFailed, match=f"cannot be used: its data belongs to user {NOBODY}"):
            EmbeddedServer(own_home).acquire()
        assert (own_home / "server").owner() == NOBODY


ORDINARY = """
import getpass, os, pwd, sys
from pathlib import Path
from gatebook.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1])).acquire()
print((server.data / "postmaster.pid").owner(), pwd.getpwuid(os.geteuid()).pw_name)
"""


def acquire_as_ordinary_user(own_home: Path, scratch: Path) -> "subprocess.CompletedProcess[str]":
    """Make and start the server as somebody who is not root; the process ends and so does its server."""
    for parent in (own_home, *own_home.parents):
        with contextlib.suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o011)
    user = NOBODY if os.geteuid() == 0 else None
    python, libraries = interpreter_for(user, scratch)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(own_home),
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": f"{ROOT / 'src'}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [python, "-c", ORDINARY, str(own_home)]
    return subprocess.run(words, user=user, env=environment, cwd="/", capture_output=True, text=True, check=False)


def interpreter_for(user: str | None, scratch: Path) -> tuple[str, str]:
    """This Python, and where its shared libraries are; a copy of it where the user cannot reach the original."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", ""], user=user, check=True, stderr=subprocess.DEVNULL)
        return sys.executable, ""
    name = f"python{sysconfig.get_python_version()}"
    base, copy = Path(sys.base_prefix), scratch / "python"
    (copy / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), copy / "bin" / name)
    leave = shutil.ignore_patterns("site-packages", "test", "config-*", "idlelib", "ensurepip", "lib2to3", "tkinter")
    shutil.copytree(base / "lib" / name, copy / "lib" / name, ignore=leave)
    for library in base.glob("lib/libpython*"):
        shutil.copy(library, copy / "lib")
    for path in (scratch, copy, copy / "bin", copy / "lib"):
        path.chmod(0o755)
    return str(copy / "bin" / name), str(copy / "lib")


# -- its databases


def test_recreate_drops_and_makes_anew(project: Project, databases: Databases) -> None:
    database = databases.empty()
    before = database.server
    with database.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE gone ()")
        connection.commit()
    with contextlib.suppress(sa.exc.OperationalError), database.connect() as idle:  # is thrown out
        idle.exec_driver_sql("SELECT 1")
        recreate(database)
    assert database.server.key != before.key
    assert database.server.role == OWNER
    with database.connect() as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('gone')").scalar_one() is None
    databases.drop(database)
    assert project.home == databases.project.home


def test_only_embedded_databases_are_made_anew(running: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_URL", running.conninfo())
    database: Database = open_database("SOME_URL")
    with pytest.raises(ConfigurationError, match="only a database of the embedded server can be made anew"):
        recreate(database)
    assert execute(running, "SELECT count(*) FROM pg_database WHERE datname = 'gatebook'") == [(1,)]
    database.close()


def test_the_servers_user_is_made_once_however_many_ask() -> None:
    """Without a lock, processes that start together on a new machine end up with different users of one name."""
    if os.geteuid() != 0:
        assert embedded._server_user() is None
        return
    name = f"gatebook-{secrets.token_hex(4)}"
    ask = f"import pwd; from gatebook.embedded import _ensure_account as ensure; ensure({name!r})"
    ask += f"; print(pwd.getpwnam({name!r}).pw_uid)"
    asking = [subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        seen = {process.communicate()[0].strip() for process in asking}
        assert seen == {str(pwd.getpwnam(name).pw_uid)}
    finally:
        subprocess.run(["userdel", name], check=True)

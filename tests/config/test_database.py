"""Addresses as Prisma, Neon, Supabase and people write them."""

from urllib.parse import quote

import certifi
import pytest
from hypothesis import given, settings, strategies as st
from psycopg.conninfo import conninfo_to_dict

from generation_worker.config import ConfigurationError, DatabaseAddress, parse_database_url

NEON = "postgresql://app:npg_secret@ep-cool-darkness-123456.us-east-2.aws.neon.tech/neondb"
POOLED = NEON.replace(".us-east-2", "-pooler.us-east-2")
PRISMA = "postgresql://app:pw-secret@db.example.com:6432/app"


def params(address: DatabaseAddress) -> dict[str, object]:
    return dict(conninfo_to_dict(address.conninfo))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/d", {"user": "u", "password": "p", "host": "h", "dbname": "d"}),
        ("postgresql+psycopg://u:p@h/d", {"host": "h", "dbname": "d"}),
        ("POSTGRESQL://u@h:6000/d", {"port": "6000", "user": "u"}),
        ("host=h dbname=d user=u password='p w'", {"host": "h", "password": "p w"}),
        ("postgres://u:p%40%2F%3A%25%20w@h/d", {"password": "p@/:% w", "host": "h"}),
        ("postgres://u:p:w@h/d", {"password": "p:w"}),
        ("postgres://us%65r@h/my%20db", {"user": "user", "dbname": "my db"}),
        ("postgres://u:p@[2001:db8::1]:5433/d", {"host": "2001:db8::1", "port": "5433"}),
        ("postgres://u@/d?host=/tmp/x", {"host": "/tmp/x", "dbname": "d"}),
        ("postgres://u@%2Ftmp%2Fx/d", {"host": "/tmp/x"}),
        ("postgres:///d?host=/tmp/x&user=u", {"host": "/tmp/x", "user": "u"}),
        ("postgres://u:p@h1:5432,h2:5433/d?target_session_attrs=any", {"host": "h1,h2", "port": "5432,5433"}),
        ("postgres://h/d?application_name=web&connect_timeout=3", {"application_name": "web", "connect_timeout": "3"}),
        (f"{NEON}?sslmode=require&channel_binding=require", {"sslmode": "require", "channel_binding": "require"}),
        ("postgres://h/d?sslmode=no-verify", {"sslmode": "require"}),
        ("postgres://h/d?ssl=true", {"sslmode": "require"}),
        ("postgres://h/d?sslmode=verify-full", {"sslmode": "verify-full", "sslrootcert": certifi.where()}),
        ("postgres://h/d?sslmode=verify-ca", {"sslmode": "verify-ca", "sslrootcert": certifi.where()}),
        ("postgres://h/d?sslrootcert=system", {"sslmode": "verify-full", "sslrootcert": certifi.where()}),
        ("postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem", {"sslrootcert": "/ca.pem"}),
        ("postgres://h/d?sslaccept=strict", {"sslmode": "verify-full", "sslrootcert": certifi.where()}),
        ("postgres://h/d?sslmode=require&sslaccept=strict", {"sslmode": "verify-full"}),
        ("postgres://h/d?sslmode=disable&sslaccept=strict", {"sslmode": "disable"}),
        ("postgres://h/d?sslaccept=accept_invalid_certs", {"sslmode": "require"}),
        ("postgres://h/d?options=-cwork_mem%3D8MB", {"options": "-cwork_mem=8MB"}),
    ],
)
def test_reads(url: str, expected: dict[str, str]) -> None:
    address = parse_database_url(url)
    assert params(address).items() >= expected.items()
    assert address.notices == ()


def test_adds_what_keeps_a_connection_honest() -> None:
    assert params(parse_database_url("postgres://h/d")) == {
        "host": "h",
        "dbname": "d",
        "connect_timeout": "15",
        "keepalives": "1",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
        "application_name": "generation-worker",
    }


@pytest.mark.parametrize(
    ("url", "pooled"),
    [
        (NEON, False),
        (POOLED, True),
        (f"{PRISMA}?pgbouncer=true", True),
        (f"{PRISMA}?pgbouncer=false", False),
        (f"{POOLED}?pgbouncer=false", True),
        ("host=ep-x-pooler.neon.tech dbname=d", True),
        ("postgres://postgres.ref:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres", True),
        ("postgres://postgres.ref:p@aws-0-eu-central-1.pooler.supabase.com:5432/postgres", False),
        ("postgres://localhost:6543/d", False),
    ],
)
def test_knows_a_pooler(url: str, pooled: bool) -> None:
    assert parse_database_url(url).pooled is pooled


def test_what_prisma_says_about_the_pool() -> None:
    address = parse_database_url(f"{PRISMA}?pgbouncer=true&connection_limit=10&pool_timeout=20&schema=public")
    assert (address.pool_size, address.pool_timeout) == (10, 20.0)
    assert parse_database_url(f"{PRISMA}?pool_timeout=0").pool_timeout is None


@pytest.mark.parametrize("address", [PRISMA, POOLED])
def test_a_schema_in_the_address_is_the_apps(address: str) -> None:
    found = parse_database_url(f"{address}?schema=app&options=-cwork_mem%3D8MB")
    assert (found.schema, params(found)["options"]) == ("generation", "-cwork_mem=8MB")
    assert [notice for notice in found.notices if "schema" in notice] == [
        "DATABASE_URL names a schema, which is your app's: it is ignored here; DATABASE_SCHEMA names ours"
    ]
    assert parse_database_url(address, schema="queue").schema == "queue"


@pytest.mark.parametrize(
    "key",
    ["socket_timeout", "statement_cache_size", "single_use_connections", "uselibpqcompat", "prepare_threshold"],
)
def test_a_parameter_that_libpq_does_not_know_is_named(key: str) -> None:
    (notice,) = parse_database_url(f"{NEON}?{key}=1", "DIRECT_URL").notices
    assert notice.startswith(f"DIRECT_URL has the parameter {key}, which libpq does not know")


def test_options_through_a_pooler_are_pointed_out() -> None:
    (notice,) = parse_database_url(f"{POOLED}?options=-cwork_mem%3D8MB").notices
    assert notice.startswith("DATABASE_URL sets options, which most poolers refuse")
    assert parse_database_url(f"{POOLED}?options=endpoint%3Dep-cool").notices == ()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://u:pw-secret@h/d", "DATABASE_URL is not an address of Postgres: it begins with postgresql://"),
        ("pw-secret", "DATABASE_URL is not an address of Postgres"),
        ("postgres://u:pw-secret%zz@h/d", "DATABASE_URL cannot be read as an address of Postgres: percent-encode"),
        ("postgres://u:pw@secret@h/d", "DATABASE_URL cannot be read as an address of Postgres: percent-encode"),
        ("postgres://u:pw/secret@h/d", "DATABASE_URL cannot be read as an address of Postgres: percent-encode"),
        ("postgres://u:pw?secret=1@h/d", "DATABASE_URL cannot be read as an address of Postgres: percent-encode"),
        ("postgres://u:pw#secret@h/d", "DATABASE_URL cannot be read as an address of Postgres: percent-encode"),
        ("postgres://u:pw secret@h/d", "DATABASE_URL cannot be read as an address of Postgres: percent-encode"),
        ("postgres://h:secret/d", "DATABASE_URL has a port that is not a whole number"),
        ("host=h password='pw-secret", "DATABASE_URL cannot be read as an address of Postgres: write it as key=value"),
        ("host=h pw-secret=1", "DATABASE_URL cannot be read as an address of Postgres: write it as key=value"),
        ("postgres://h/d?pgbouncer", "DATABASE_URL has a parameter without a value"),
        ("postgres://h/d?connection_limit=many", "DATABASE_URL has a connection_limit that is not a whole number"),
        ("postgres://h/d?connection_limit=0", "DATABASE_URL has a connection_limit that is not a whole number"),
        ("postgres://h/d?pool_timeout=-1", "DATABASE_URL has a pool_timeout that is not a number of seconds"),
        ("postgres://h/d?sslaccept=perhaps", "DATABASE_URL has an sslaccept that is neither strict nor"),
        ("postgres://h/d?sslmode=on", "DATABASE_URL has an sslmode that is none of disable, allow"),
        ("postgres://h/d?connect_timeout=soon", "DATABASE_URL has a connect_timeout that is not a whole number"),
    ],
)
def test_refuses_without_showing_the_address(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_database_url(url)
    (only,) = caught.value.problems
    assert only.startswith(problem)
    assert "secret" not in only
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_every_fault_of_an_address_is_said() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_database_url("postgres://h/d?connection_limit=x&pool_timeout=y&sslmode=z")
    assert len(caught.value.problems) == 3


def test_its_repr_hides_the_password() -> None:
    address = parse_database_url(f"{NEON}?sslmode=require")
    assert "npg_secret" not in repr(address)
    assert address.secrets() == ["npg_secret"]


def address_or_problem(url: str) -> DatabaseAddress | str:
    try:
        return parse_database_url(url)
    except ConfigurationError as error:
        return str(error)


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(deadline=None)
@given(words)
def test_any_password_survives_percent_encoding(password: str) -> None:
    address = parse_database_url(f"postgresql://app:{quote(password, safe='')}@db.example.com/app?sslmode=require")
    assert params(address)["password"] == password
    assert params(address)["host"] == "db.example.com"


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30), st.sampled_from(["", "?", "/", "@", "#", "%", "?x=", "&"]))
def test_a_raw_password_is_read_whole_or_refused_in_silence(word: str, special: str) -> None:
    password = f"pw-{word}{special}-secret"
    address = address_or_problem(f"postgresql://app:{password}@db.example.com/app")
    assert "secret" not in repr(address)
    if isinstance(address, DatabaseAddress):
        assert params(address)["host"] == "db.example.com"


DATABASE_SCHEMA_NOTICE = (
    "DATABASE_URL names a schema, which is your app's: it is ignored here; DATABASE_SCHEMA names ours"
)


@settings(deadline=None)
@given(words)
def test_the_schema_of_an_address_is_the_apps(name: str) -> None:
    address = parse_database_url(f"postgresql://h/d?schema={quote(name, safe='')}", schema="ours")
    assert address.schema == "ours"
    assert "options" not in params(address)
    assert [notice for notice in address.notices if "names a schema, which is your app's" in notice] == (
        [DATABASE_SCHEMA_NOTICE] if name else []
    )

"""The address of a database, as people, Prisma, Neon, Supabase and node-postgres write it, translated for libpq.

libpq refuses a parameter that it does not know, so each is translated, or left out with a notice. No error repeats a
part of the address, which may hold a password.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import unquote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from generation_worker.config.kinds import ConfigurationError
from generation_worker.domain.schema import SCHEMA

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+(?:psycopg2?|asyncpg))?://", re.IGNORECASE)
_PAIRS = re.compile(r"\s*[a-z_]+\s*=")
_RESERVED = re.compile(r"[/?#\[\]\s]")
_ENCODE = (
    "percent-encode special characters in user, password and database "
    "(@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, [ is %5B, ] is %5D, % is %25, a space is %20)"
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_NUMBERS = ("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count")
_TRUE = ("true", "1", "on", "yes")
_DEFAULTS = {
    # A serverless database may have to wake up first.
    "connect_timeout": "15",
    # A connection whose other end has vanished is noticed in about a minute, instead of never
    # (keepalives, while we wait) or after a quarter of an hour (tcp_user_timeout, while we send).
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "generation-worker",
}


@dataclass(slots=True)
class Translation:
    """An address while it is translated. Problems and notices follow the variable's name."""

    params: dict[str, str]
    pooled: bool = False
    pool_size: int | None = None
    pool_timeout: float | None = None
    problems: list[str] = field(default_factory=list[str])
    notices: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is and how it may be used."""

    conninfo: str = field(repr=False)
    """For libpq; holds the password."""
    label: str
    """Names the database without revealing anything: ``app at db.example.com:5432``."""
    pooled: bool = False
    """Behind a transaction pooler: no server-side prepared statements, no LISTEN, no session state."""
    pool_size: int | None = None
    """Most connections that the address allows us, or None if it does not say."""
    pool_timeout: float | None = None
    """Seconds to wait for a free connection, or None if it does not say."""
    schema: str = SCHEMA
    """Where our tables are in it: DATABASE_SCHEMA. The address itself says nothing about that."""
    notices: tuple[str, ...] = ()
    """What was left out or is doubtful, one line each, naming the variable."""

    def secrets(self) -> list[str]:
        """The passwords in ``conninfo``, as plain text."""
        return _secrets_of(self.conninfo)


def parse_database_url(url: str, name: str = "DATABASE_URL", *, schema: str = SCHEMA) -> DatabaseAddress:
    """The address in ``url``: postgres://, postgresql://, postgresql+psycopg:// or key=value pairs.

    Parameters that libpq refuses are translated or left out with a notice. ``name`` is the
    variable that messages speak of. Raises ConfigurationError, which never shows the address.
    """
    given, extra = _read_address(url, name)
    found = _translate(given, extra)
    if found.problems:
        raise ConfigurationError([f"{name} {problem}" for problem in found.problems])
    params = _DEFAULTS | found.params
    return DatabaseAddress(
        conninfo=_format_conninfo(params, name),
        label=_label(params),
        pooled=found.pooled,
        pool_size=found.pool_size,
        pool_timeout=found.pool_timeout,
        schema=schema,
        notices=tuple(f"{name} {notice}" for notice in found.notices),
    )


def _read_address(url: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of ``url`` that libpq knows, and the others. Raises ConfigurationError."""
    scheme = _SCHEME.match(url)
    if scheme is not None:
        return _read_url(url[scheme.end() :], name)
    if _PAIRS.match(url):
        return _parse(url, name, "write it as key=value pairs, with values that hold spaces in '…'"), {}
    raise ConfigurationError([f"{name} is not an address of Postgres: it begins with postgresql://"])


def _format_conninfo(params: Mapping[str, str], name: str) -> str:
    """``params`` as key=value pairs. Raises ConfigurationError if libpq does not take them."""
    try:
        return make_conninfo(**params)
    except (ProgrammingError, ValueError):
        raise _unreadable(name, _ENCODE) from None


def _secrets_of(conninfo: str) -> list[str]:
    """The passwords in ``conninfo``."""
    params = _parse(conninfo, "the address", "")
    return [params[key] for key in ("password", "sslpassword", "oauth_client_secret") if params.get(key)]


def _read_url(rest: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """``rest`` is what follows the scheme."""
    credentials, at, place = rest.rpartition("@")
    # libpq would take part of such a password for the host, and show it in its error.
    if "@" in credentials or _RESERVED.search(credentials):
        raise _unreadable(name, _ENCODE)
    location, _, query = place.partition("?")
    params = _parse(f"postgresql://{credentials}{at}{location}", name, _ENCODE)
    known = _known_parameters()
    given = _read_query(query, name)
    params.update({key: value for key, value in given.items() if key in known})
    return params, {key: value for key, value in given.items() if key not in known}


def _read_query(query: str, name: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if not all(separator for _, separator, _ in pairs):
        raise ConfigurationError([f"{name} has a parameter without a value after the '?': write name=value"])
    return {unquote(key): unquote(value) for key, _, value in pairs}


def _known_parameters() -> set[str]:
    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def _parse(text: str, name: str, remedy: str) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except (ProgrammingError, ValueError):
        # libpq quotes the part that it does not understand, which may be the password.
        raise _unreadable(name, remedy) from None


def _unreadable(name: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([f"{name} cannot be read as an address of Postgres: {remedy}"])


def _translate(params: Mapping[str, str], extra: Mapping[str, str]) -> Translation:
    """``params`` are those that libpq knows, ``extra`` the others."""
    found = Translation(dict(params), pooled=_is_pooler(params))
    for key, value in extra.items():
        _TRANSLATIONS.get(key, _ignore(key))(found, value)
    _check_numbers(found)
    _settle_tls(found)
    _check_options(found)
    return found


def _is_pooler(params: Mapping[str, str]) -> bool:
    """Neon's pooler is the host name's first label with -pooler; Supabase's has a port of its own."""
    hosts = params.get("host", "").lower().split(",")
    if any(host.split(".")[0].endswith("-pooler") for host in hosts):
        return True
    return "6543" in params.get("port", "").split(",") and any("supabase.co" in host for host in hosts)


def _read_pgbouncer(found: Translation, value: str) -> None:
    found.pooled = found.pooled or value.lower() in _TRUE


def _read_connection_limit(found: Translation, value: str) -> None:
    if re.fullmatch(r"[1-9][0-9]{0,3}", value):
        found.pool_size = int(value)
    else:
        found.problems.append("has a connection_limit that is not a whole number from 1 to 9999")


def _read_pool_timeout(found: Translation, value: str) -> None:
    """Seconds; Prisma's 0 means no limit, which is what None says."""
    if re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]+)?", value):
        found.pool_timeout = float(value) or None
    else:
        found.problems.append("has a pool_timeout that is not a number of seconds")


def _read_schema(found: Translation, value: str) -> None:
    """The app's, for its own tables."""
    if value:
        found.notices.append("names a schema, which is your app's: it is ignored here; DATABASE_SCHEMA names ours")


def _read_sslaccept(found: Translation, value: str) -> None:
    if value == "strict":
        if found.params.get("sslmode") != "disable":
            found.params["sslmode"] = "verify-full"
    elif value == "accept_invalid_certs":
        found.params.setdefault("sslmode", "require")
    else:
        found.problems.append("has an sslaccept that is neither strict nor accept_invalid_certs")


def _read_ssl(found: Translation, value: str) -> None:
    """node-postgres' and JDBC's ``ssl=true``; dropping it would drop the encryption."""
    if value.lower() in _TRUE:
        found.params.setdefault("sslmode", "require")


def _ignore(key: str) -> Callable[[Translation, str], None]:
    shown = key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]{0,39}", key) else "with an unusual name"

    def note(found: Translation, _: str) -> None:
        found.notices.append(f"has the parameter {shown}, which libpq does not know: it is ignored and can be removed")

    return note


def _check_numbers(found: Translation) -> None:
    """libpq would only complain when it connects."""
    for key in (*_NUMBERS, "tcp_user_timeout"):
        if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", found.params.get(key, "0")):
            found.problems.append(f"has a {key} that is not a whole number")
    ports = found.params.get("port", "").split(",")
    if not all(re.fullmatch(r"[0-9]{0,5}", port) and int(port or 1) in range(1, 65_536) for port in ports):
        found.problems.append("has a port that is not a whole number from 1 to 65535")


def _settle_tls(found: Translation) -> None:
    """A mode that libpq knows, and certificates to verify with: its binary wheel brings none."""
    mode = found.params.get("sslmode")
    if mode == "no-verify":  # node-postgres' word for libpq's require
        found.params["sslmode"] = "require"
    elif mode is not None and mode not in _SSL_MODES:
        found.problems.append(f"has an sslmode that is none of {', '.join(_SSL_MODES)}")
    if found.params.get("sslrootcert") == "system":
        found.params["sslmode"] = "verify-full"  # libpq refuses anything weaker
        _use_certificates(found)
    elif mode in ("verify-ca", "verify-full") and "sslrootcert" not in found.params:
        _use_certificates(found)


def _use_certificates(found: Translation) -> None:
    if find_spec("certifi") is not None:
        import certifi  # noqa: PLC0415 - not ours: it comes with requests

        found.params["sslrootcert"] = certifi.where()


def _check_options(found: Translation) -> None:
    if found.pooled and re.search(r"(?:^|\s)-", found.params.get("options", "")):
        found.notices.append("sets options, which most poolers refuse: use ALTER ROLE … SET instead")


def _label(params: dict[str, str]) -> str:
    host = params.get("host") or params.get("hostaddr") or "the default socket"
    database = params.get("dbname") or params.get("user") or "the default database"
    return f"{database} at {host}:{params.get('port', '5432')}"


_TRANSLATIONS: dict[str, Callable[[Translation, str], None]] = {
    "pgbouncer": _read_pgbouncer,
    "connection_limit": _read_connection_limit,
    "pool_timeout": _read_pool_timeout,
    "schema": _read_schema,
    "sslaccept": _read_sslaccept,
    "ssl": _read_ssl,
}

"""Reading and writing libpq's connection strings without ever repeating them in an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from generation_worker.config.errors import ConfigurationError

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+(?:psycopg2?|asyncpg))?://", re.IGNORECASE)
_PAIRS = re.compile(r"\s*[a-z_]+\s*=")
_RESERVED = re.compile(r"[/?#\[\]\s]")

_ENCODE = (
    "percent-encode special characters in user, password and database "
    "(@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, [ is %5B, ] is %5D, % is %25, a space is %20)"
)


def read_address(url: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of ``url`` that libpq knows, and the others. Raises ConfigurationError."""
    scheme = _SCHEME.match(url)
    if scheme is not None:
        return _read_url(url[scheme.end() :], name)
    if _PAIRS.match(url):
        return _ask_libpq(url, name, "write it as key=value pairs, with values that hold spaces in '…'"), {}
    raise ConfigurationError([f"{name} is not an address of Postgres: it begins with postgresql://"])


def format_conninfo(params: Mapping[str, str], name: str) -> str:
    """``params`` as key=value pairs. Raises ConfigurationError if libpq does not take them."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - slow to import, and not every command needs it
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    try:
        return make_conninfo(**params)
    except (ProgrammingError, ValueError):
        raise _unreadable(name, _ENCODE) from None


def secrets_of(conninfo: str) -> list[str]:
    """The values in ``conninfo`` that nobody may see."""
    params = _ask_libpq(conninfo, "the address", "")
    return [params[key] for key in ("password", "sslpassword", "oauth_client_secret") if params.get(key)]


def _read_url(rest: str, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """``rest`` is what follows the scheme."""
    credentials, at, place = rest.rpartition("@")
    # libpq would take part of such a password for the host, and show it in its error.
    if "@" in credentials or _RESERVED.search(credentials):
        raise _unreadable(name, _ENCODE)
    location, _, query = place.partition("?")
    params = _ask_libpq(f"postgresql://{credentials}{at}{location}", name, _ENCODE)
    known = _known_parameters()
    asked = _read_query(query, name)
    params.update({key: value for key, value in asked.items() if key in known})
    return params, {key: value for key, value in asked.items() if key not in known}


def _read_query(query: str, name: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if not all(separator for _, separator, _ in pairs):
        raise ConfigurationError([f"{name} has a parameter without a value after the '?': write name=value"])
    return {unquote(key): unquote(value) for key, _, value in pairs}


def _known_parameters() -> set[str]:
    from psycopg.pq import Conninfo  # noqa: PLC0415

    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def _ask_libpq(text: str, name: str, remedy: str) -> dict[str, str]:
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except (ProgrammingError, ValueError):
        # libpq quotes the part that it does not understand, which may be the password.
        raise _unreadable(name, remedy) from None


def _unreadable(name: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([f"{name} cannot be read as an address of Postgres: {remedy}"])

"""Questions about the server and the tables in it."""

from __future__ import annotations

from collections.abc import Sequence

from generation_worker.db.answers.server import Function, SchemaPlace, Server, TableHealth, TableRights, VacuumHolder
from generation_worker.db.insights.asking import Asking


class ServerInsights(Asking):
    def server(self) -> Server:
        """What kind of server this is and how it is set up."""
        return self._ask(Server, "server")[0]

    def vacuum_holders(self, *, limit: int = 5) -> list[VacuumHolder]:
        """Who keeps dead rows from being removed, the oldest first."""
        return self._ask(VacuumHolder, "vacuum_holders", limit=limit)

    def table_health(self, tables: Sequence[str]) -> list[TableHealth]:
        """Dead rows of those of ``tables`` that are there, the most first."""
        return self._ask(TableHealth, "table_health", tables=list(tables))

    def table_rights(self, tables: Sequence[str]) -> list[TableRights]:
        """What this role may do with those of ``tables`` that are there."""
        return self._ask(TableRights, "table_rights", tables=list(tables))

    def functions(self) -> list[Function]:
        """The functions beside our tables, and whether this role may call them."""
        return self._ask(Function, "functions")

    def schema_place(self) -> SchemaPlace:
        """Where this role looks for the tables."""
        return self._ask(SchemaPlace, "schema_place")[0]

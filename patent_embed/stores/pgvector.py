"""PostgreSQL with pgvector: patents and the vectors of all models in one table of a server.

Which server, database and user is said by libpq's own variables (PGHOST, PGDATABASE, PGUSER, PGPASSWORD, PGSERVICE, …),
so no password is a setting of ours.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from patent_embed.arrays import matrix_of
from patent_embed.errors import UserError
from patent_embed.stores.base import FIELDS, Content, Store

TABLE = "patents"
_FRESH = "patents_being_written"
_OURS = "written by patent-embed index"  # the comment on a table that may be replaced


class PgVector(Store):
    """The table ``patents`` in the first schema of the search path: searched exactly, unless an index is made of it.
    Readers find the old table until the new one is whole."""

    name, order, package = "pgvector", 5, "pgvector"
    holds = "this file; patents and a column of vectors a model are in the table patents of the database"

    @override
    def require(self) -> None:
        super().require()
        if importlib.util.find_spec("psycopg") is None:
            raise UserError('--to pgvector needs the package psycopg; pip install "patent-embed[pgvector]"')
        with _connected() as connection:
            _schema_for_us(connection)

    @override
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        with _connected() as connection:  # one transaction: what fails leaves the table of before
            schema = _schema_for_us(connection)
            _copy(connection, schema, content)
            _replace(connection, schema)
            info = connection.info
            place = {"host": info.host, "database": info.dbname, "schema": schema, "table": TABLE}
        return {**place, "columns": [*FIELDS, *content.vectors], "distance": "<#>, the negative inner product"}


PGVECTOR = PgVector()


def _connected() -> Any:
    """A connection by libpq's variables, which ends with its block, and its transaction too."""
    import psycopg

    try:
        return psycopg.connect()
    except psycopg.OperationalError as error:
        raise UserError(
            f"--to pgvector reaches no PostgreSQL: {_first_line(error)}; set PGHOST, PGPORT, PGDATABASE, PGUSER and "
            "PGPASSWORD (or a file that PGPASSFILE names) to those of your server"
        ) from None


def _schema_for_us(connection: Any) -> str:
    """The schema to write into, in a database with pgvector.

    Raises:
        UserError: the server has no pgvector, there is no schema, or its table ``patents`` is somebody else's.
    """
    import psycopg

    (schema,) = connection.execute("SELECT current_schema()").fetchone()
    if schema is None:
        raise UserError(
            "--to pgvector finds no schema to write into: none of the connection's search path is there; "
            "set PGOPTIONS='-c search_path=NAME' to one that is"
        )
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise UserError(
            f"--to pgvector finds no pgvector on the server and cannot add it: {_first_line(error)}; install it there "
            "and run CREATE EXTENSION vector in this database"
        ) from None
    comments = connection.execute(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE relname = %s AND relnamespace = "
        "(SELECT oid FROM pg_namespace WHERE nspname = %s)",
        (TABLE, schema),
    ).fetchall()
    if comments not in ([], [(_OURS,)]):
        raise UserError(
            f"the table {schema}.{TABLE} was not written by patent-embed, and --to pgvector would replace it; rename "
            "it, or set PGOPTIONS='-c search_path=NAME' to another schema"
        )
    return str(schema)


def _copy(connection: Any, schema: str, content: Content) -> None:
    """Make the table ``_FRESH`` and fill it, by PostgreSQL's binary COPY."""
    from pgvector.psycopg import register_vector
    from psycopg.sql import SQL, Identifier, Literal

    register_vector(connection)
    types = {name: "text[]" if name in ("codes", "applicants") else "text" for name in FIELDS}
    columns = [SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in types.items()]
    columns += [
        SQL("{} vector({})").format(Identifier(name), Literal(vectors.shape[1]))
        for name, vectors in content.vectors.items()
    ]
    fresh = Identifier(schema, _FRESH)
    connection.execute(SQL("DROP TABLE IF EXISTS {}").format(fresh))
    connection.execute(SQL("CREATE TABLE {} ({})").format(fresh, SQL(", ").join(columns)))
    with (
        connection.cursor() as cursor,
        cursor.copy(SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(fresh)) as copy,
    ):
        copy.set_types([*types.values(), *("vector" for _ in content.vectors)])
        for batch in content.with_vectors():
            fields = (batch.column(name).to_pylist() for name in FIELDS)
            vectors = (matrix_of(batch.column(name)) for name in content.vectors)
            for row in zip(*fields, *vectors, strict=True):
                copy.write_row(row)
    connection.execute(SQL("ALTER TABLE {} ADD PRIMARY KEY (publication_number)").format(fresh))
    connection.execute(SQL("COMMENT ON TABLE {} IS {}").format(fresh, Literal(_OURS)))


def _replace(connection: Any, schema: str) -> None:
    """Give ``_FRESH`` the place and the names of the table before."""
    from psycopg.sql import SQL, Identifier

    connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(schema, TABLE)))
    for kind, end in (("TABLE", ""), ("INDEX", "_pkey")):
        fresh, name = Identifier(schema, _FRESH + end), Identifier(TABLE + end)
        connection.execute(SQL("ALTER {} {} RENAME TO {}").format(SQL(kind), fresh, name))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

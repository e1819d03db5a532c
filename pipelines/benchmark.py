"""``patent-embed benchmark OUTPUT DIR``: the patents of a finished run as a benchmark. Plain Python, without Ray."""

from __future__ import annotations

from patent_embed import __version__
from patent_embed.benchmark.making import kinds_for, make, patents_of, written_queries
from patent_embed.benchmark.writing import FILES, NO_LICENCE, write_beir
from patent_embed.config.commands import BenchmarkArguments
from patent_embed.config.model import view_fields
from patent_embed.data.views import view_columns, viewed
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.ownership import claim
from patent_embed.progress.terminal import say
from pipelines.run_folder import open_run

_COLUMNS = (
    "publication_number",
    "title",
    "abstract",
    "codes",
    "language",
    "claims",
    "citations",
    "citation_categories",
)


def run(arguments: BenchmarkArguments) -> None:
    """Write the benchmark, and say what is in it.

    Raises:
        UserError: there is no finished run, nothing can be asked, or the folder holds what this program did not make.
    """
    found = open_run(arguments.output_dir)
    if found is None:
        raise UserError(
            f"{arguments.output_dir!r} holds no finished run, whose patents a benchmark could be made of; name the "
            "output folder of one"
        )
    tables = found.tables
    model = found.config.model
    corpus = tables.ingest.table("corpus", *dict.fromkeys([*_COLUMNS, *view_columns(model)]))
    kinds = kinds_for(view_fields(model.passage_view), arguments.kinds)
    patents = patents_of(corpus, viewed(corpus, model)["abstract"], tables.splits.table("splits"))
    written = written_queries(tables.queries.table("queries", "publication_number", "query", "source"))
    made = make(patents, written, arguments.split, kinds)
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder_at(folder), FILES)
    name = arguments.name or folder.resolve().name
    source = {
        "program": f"patent-embed {__version__}",
        "corpus": tables.ingest.manifest.content,
        "splits": tables.splits.manifest.content,
        "queries": tables.queries.manifest.content,
        "split": arguments.split,
        "kinds": kinds,
        "passage_view": model.passage_view,
    }
    about = write_beir(folder, name, made, arguments.licence or NO_LICENCE, source)
    say(f"{made.counts['documents']:,} patents, {made.counts['queries']:,} queries of the {arguments.split} patents")
    for split, part in about["parts"].items():
        say(f"  {split:12} {part['judgements']:>9,} judgements: {part['about']}")
    if outside := made.counts["citations_outside"]:
        say(f"  {outside:,} citations lead to patents that are not in the run, and are left out")
    if not arguments.licence:
        say("  no licence is stated: whoever gets the folder may do nothing with it; --license names one")
    say(f"written to {folder}, digest {about['digest'][:16]}")

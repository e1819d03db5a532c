"""Google's public patent data (BigQuery ``patents-public-data.patents.publications``), as JSON lines or Parquet.

Codes are objects ``{"code", "inventive", "first", "tree"}``; the codes in ``tree`` are the ancestors of ``code`` and no
codes of the patent, nor is an entry with ``"leaf": false``. Numbers keep their dashes (``US-10000000-B2``).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, ClassVar

from patent_embed.data.cited import cited
from patent_embed.data.layouts import filled, found, localized, numbered_claims, preferred, text, texts
from patent_embed.data.shapes.base import Shape


class BigQuery(Shape):
    """A row of ``publications``."""

    name: ClassVar[str] = "bigquery"
    order: ClassVar[int] = 10

    def recognises(self, names: Set[str]) -> bool:
        """By the texts in several languages."""
        return "publication_number" in names and not names.isdisjoint({"title_localized", "abstract_localized"})

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a row."""
        codes = [each for name in ("ipc", "cpc") for each in found(fields, name) if _is_leaf(each)]
        date = text(fields, "publication_date")
        return filled(
            {
                "publication_number": text(fields, "publication_number"),
                "title": localized(found(fields, "title_localized")),
                "abstract": localized(found(fields, "abstract_localized")),
                "classifications": texts(code for each in codes for code in (found(each, "code") or [each])),
                "claims": [
                    claim for whole in preferred(found(fields, "claims_localized")) for claim in numbered_claims(whole)
                ],
                "description": preferred(found(fields, "description_localized")),
                "citations": cited(
                    # In ``category`` stands the phase, in ``type`` what the search report says.
                    (text(each, "publication_number"), [text(each, "type"), text(each, "category")])
                    for each in found(fields, "citation")
                ),
                "family_id": text(fields, "family_id"),
                "publication_date": date if date != "0" else "",
                "applicants": texts(found(fields, "assignee_harmonized", "name")) or texts(found(fields, "assignee")),
                "application_number": text(fields, "application_number"),
            }
        )


def _is_leaf(entry: Any) -> bool:
    return not (isinstance(entry, Mapping) and entry.get("leaf") is False)


BIGQUERY = BigQuery()

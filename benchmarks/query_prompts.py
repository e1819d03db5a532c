"""Prints what a model would be asked, for people to read; no model is needed. Settings of the queries are JSON.

python benchmarks/query_prompts.py --count 2 --queries '{"mix": {"personas": {"layman": 1, "examiner": 1},
    "difficulties": {"effect_only": 1}, "views": {"use": 1}}}' --examples own_queries.txt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from patent_embed.config.queries import QueriesConfig
from patent_embed.data import sample
from patent_embed.queries.asking import Asking, Patent
from patent_embed.queries.examples import read_examples, shown_examples


def main() -> None:
    """Print the system's message once, and each patent's own after it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3, help="generated patents")
    parser.add_argument("--per_patent", type=int, default=2, help="queries of each")
    parser.add_argument("--queries", type=json.loads, default={}, help="settings of the queries, as JSON")
    parser.add_argument("--examples", type=Path, help="a file with queries of your own")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    own = read_examples(arguments.examples) if arguments.examples else []
    shown = {language: shown_examples(own, language, arguments.seed) for language in ("zh", "en")}
    asking = Asking("m", QueriesConfig.model_validate(arguments.queries), arguments.seed, shown)
    for place, item in enumerate(sample.generate(arguments.count, seed=arguments.seed)):
        patent = Patent(item["publication_number"], item["title"], item["abstract"], "zh")
        for number in range(arguments.per_patent):
            system, user = asking.messages(asking.request(patent, number))
            if place == number == 0:
                print(f"{system['content']}\n")
            print(f"--- {patent.number}, query {number}\n{user['content']}\n")


if __name__ == "__main__":
    main()

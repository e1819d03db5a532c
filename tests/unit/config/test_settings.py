"""What every setting says of itself, and when it counts."""

from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from patent_embed.config.commands import COMMANDS
from patent_embed.config.settings import Config
from patent_embed.section import Role, Section, role_of, section_in, settings_in

OWN = {f"{name}:{path}": field for name, each in COMMANDS.items() for path, field in settings_in(each.arguments)}
ALL = dict(settings_in(Config)) | OWN


@pytest.mark.parametrize("path", ALL)
def test_every_setting_has_a_description(path: str) -> None:
    assert ALL[path].description, f"{path} has no description: say what it means, its unit, and what None means"


def test_a_description_says_what_none_means() -> None:
    def may_be_none(field: FieldInfo) -> bool:
        return type(None) in get_args(field.annotation)

    unsaid = [path for path, field in settings_in(Config) if may_be_none(field) and "None: " not in field.description]
    assert unsaid == []


def test_every_section_has_a_docstring() -> None:
    def sections(of: type[Section]) -> list[type[Section]]:
        inner = [found for field in of.model_fields.values() if (found := section_in(field.annotation)) is not None]
        return [of, *(deeper for each in inner for deeper in sections(each))]

    undescribed = {each.__name__ for each in sections(Config) if not vars(each).get("__doc__")}
    assert undescribed == set()


# What no digest holds: to change it makes no step run again. What names a place counts by what lies there.
LOGISTICS = {
    "run": {"output_dir", "use_cache", "resume", "test_only", "grows_to", "log_level", "publish"},
    "data": {"data_dir"},
    "splits": set(),
    "queries": {
        *(
            "cache",
            "judgements",
            "log",
            "examples",
            "export_cache",
            "round_trip.encoder",
            "api.batch",
            "api.batch_poll_s",
        ),
        *(f"llm.{name}" for name in ("replicas", "tensor_parallel_size", "batch_size", "max_concurrent_batches")),
        *("llm.max_model_len", "llm.engine", "llm.node_wait_s"),
        *(f"api.{name}" for name in ("key", "requests_in_flight", "timeout_s", "retries", "max_wait_s")),
        *("api.requests_per_minute", "api.max_total_tokens"),
    },
    "negatives": {"distributed"},
    "relevance": set(),
    "model": {"name"},
    "training": {
        *("log_every", "trackers", "keep_checkpoints", "checkpoint_every_n_epochs", "num_workers", "use_gpu"),
        "shard",
    },
    "evaluation": {"distributed"},
    "tune": {"max_concurrent", "refit"},
}


def paths_of(section: str, role: Role) -> set[str]:
    found = {path for path, field in settings_in(Config) if role_of(field) is role}
    return {path.removeprefix(f"{section}.") for path in found if path.startswith(f"{section}.")}


@pytest.mark.parametrize("section", Config.model_fields)
def test_logistics(section: str) -> None:
    assert paths_of(section, Role.LOGISTICS) == LOGISTICS[section]


def test_what_is_prepared_before_a_training_and_read_after_it() -> None:
    assert paths_of("training", Role.PREPARED) == {
        *("query_sources", "mined_negatives", "validate_epochs", "validation_patents", "validate_on"),
    }
    assert paths_of("training", Role.PUBLISHED) == {"soup_size", "base_share", "publish"}
    other = set(Config.model_fields) - {"training"}
    assert not any(paths_of(section, role) for section in other for role in (Role.PREPARED, Role.PUBLISHED))

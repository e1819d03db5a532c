"""Settings of the judge: a model that grades how well patents answer queries."""

from __future__ import annotations

from pydantic import Field, model_validator

from patent_embed.section import Section


class JudgeConfig(Section):
    """A model that grades 0 to 3 how well a patent answers a query. It is controlled by pairs whose answer is known;
    below a bar its grades are not used. docs/queries.md"""

    enabled: bool = Field(
        False,
        description="have each query graded against its own abstract, and its hardest candidates against the query",
    )
    model: str | None = Field(
        None,
        description="model that grades, through queries.backend; None: the one that writes, whose engine is up already",
    )
    min_grade: int = Field(2, ge=1, le=3, description="queries whose own abstract is graded lower are dropped")
    answer_grade: int = Field(
        2,
        ge=1,
        le=3,
        description="a candidate with this grade or more is an answer: it is no negative; also what counts as found in "
        "the control",
    )
    candidates: int = Field(
        2, ge=0, le=64, description="negatives of each query that are graded, those most like the query first; 0: none"
    )
    controls: int = Field(
        100, ge=20, le=10_000, description="planted pairs, half of them relevant, that the judge is controlled by"
    )
    min_precision: float = Field(
        0.9, ge=0, le=1, description="of the planted pairs that it calls answers, this share must be some"
    )
    min_recall: float = Field(
        0.7, ge=0, le=1, description="of the planted relevant pairs, it must call this share answers"
    )

    @model_validator(mode="after")
    def _no_answer_is_dropped(self) -> JudgeConfig:
        if self.min_grade > self.answer_grade:
            raise ValueError(
                f"min_grade {self.min_grade} is above answer_grade {self.answer_grade}: a query would be dropped whose "
                "own abstract counts as an answer, and the control would not see it; set it to that or below"
            )
        return self

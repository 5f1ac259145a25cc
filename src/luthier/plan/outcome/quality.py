"""What a method is expected to score: by the user's own runs, else published ones, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from luthier.plan.choice.methods import Method
from luthier.plan.figure import Basis, Figure
from luthier.plan.outcome.own_results import OwnResult
from luthier.plan.outcome.published import PublishedStudy, find_study, is_same_model, look_up
from luthier.stats.comparison import Direction


class Quality(NamedTuple):
    """An expected score.

    Attributes:
        value: the score, with where it is from.
        source: of all scores of its scale.
        caveat: what makes this one less sure than its source; empty where nothing does.
        metric: what it is a score of.
        better: whether more or less of it is an improvement.
        scale: scores with the same one can be compared.
        spread: a lead up to this says nothing; 0 where no one has measured it.
    """

    value: Figure
    source: str
    caveat: str
    metric: str
    better: Direction
    scale: str
    spread: float

    @property
    def goodness(self) -> float:
        """The value, or its negative where less is better: more of it is always better."""
        return self.value.value if self.better == "higher" else -self.value.value


def expect_quality(
    method: Method, base_model: str, data: str, own: Sequence[OwnResult] = ()
) -> Quality | None:
    """The score that is known for this method on this model and data; None where none is.

    Several own results of one method (other amounts, other studies): the study with most seeds
    and examples counts. Nothing is carried over from another model, data set or rank.

    Args:
        data: as `data_names.name_rows` calls it; without one nothing is known.
    """
    if not data:
        return None
    fitting = [
        result
        for result in own
        if result.data == data and is_same_model(result.base_model, base_model)
    ]
    scored = [result for result in fitting if result.method == method]
    if scored:
        return _of_own(max(scored, key=lambda r: (len(r.values), r.examples)), fitting)
    study = find_study(base_model, data)
    return None if study is None else _of_published(study, method, base_model)


def _of_own(result: OwnResult, all_results: Sequence[OwnResult]) -> Quality:
    peers = [r for r in all_results if (r.study, r.task) == (result.study, result.task)]
    spread = max(max(peer.values) - min(peer.values) for peer in peers)
    seeds = f"{len(result.values)} seed{'s' if len(result.values) != 1 else ''}"
    source = f"your study {result.study}, {seeds}"
    scale = f"{result.metric}, your study {result.study} ({result.task})"
    value = Figure(result.mean, "measured", f"{source}, arm {result.arm}")
    return Quality(value, source, "", result.metric, result.better, scale, spread)


def _of_published(study: PublishedStudy, method: Method, base_model: str) -> Quality | None:
    found = look_up(study, method)
    if found is None:
        return None
    value, same_rank = found
    doubts: list[str] = []
    if not is_same_model(base_model, study.base_model):
        doubts.append(f"measured on {study.base_model.rsplit('/', 1)[-1]}")
    if not same_rank and method.rank is not None:
        doubts.append("at a rank that is not told")
    caveat = ", ".join(doubts)
    basis: Basis = "assumed" if doubts else study.basis
    figure = Figure(value, basis, f"{study.source}; {caveat}" if caveat else study.source)
    scale = f"{study.metric}, {study.title}"
    return Quality(figure, study.source, caveat, study.metric, "higher", scale, study.spread)

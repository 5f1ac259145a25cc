"""A plan, of a recipe or of a study, with what could be done instead: as text and as JSON."""

from __future__ import annotations

from typing import Any, NamedTuple

from luthier.plan.as_json import choice_as_json, run_as_json, study_as_json
from luthier.plan.choice.advice import Change
from luthier.plan.choice.choose import Choice
from luthier.plan.choice.render_options import render_changes, render_options, render_two_stage
from luthier.plan.render_run import render_run
from luthier.plan.render_study import render_study
from luthier.plan.run_plan import RunPlan
from luthier.plan.study_plan import StudyPlan

# A study has several arms; the rest of what makes one fit is in its own plan, and in JSON.
SHOWN_IN_A_STUDY = 3


class Plan(NamedTuple):
    """What `luthier plan` answers.

    Attributes:
        found: of the recipe or the study.
        changes: arm → changes that make it fit; only arms that do not.
        choice: what the limits allow; None without limits.
    """

    found: RunPlan | StudyPlan
    changes: dict[str, tuple[Change, ...]]
    choice: Choice | None


def render_plan(plan: Plan) -> str:
    """The plan in 80 columns."""
    found = plan.found
    parts = [render_run(found) if isinstance(found, RunPlan) else render_study(found)]
    for arm, changes in plan.changes.items():
        if isinstance(found, RunPlan):
            parts.append(render_changes(changes))
        else:
            parts.append(f"{arm}. {render_changes(changes[:SHOWN_IN_A_STUDY])}")
    if plan.choice is not None:
        parts.append(render_options(plan.choice.options))
        if plan.choice.limits.budget_usd is not None:
            parts.append(render_two_stage(plan.choice.two_stage, plan.choice.limits.budget_usd))
    return "\n\n".join(parts)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """One object: the plan's own keys, `changes` and, with limits, `choice`."""
    found = plan.found
    answer = run_as_json(found) if isinstance(found, RunPlan) else study_as_json(found)
    changes = {
        arm: [
            {
                "settings": dict(change.settings),
                "cost": change.what_it_costs,
                "allocated_gib": change.memory_gib_after.value,
                "fits": change.fits,
            }
            for change in found_changes
        ]
        for arm, found_changes in plan.changes.items()
    }
    if plan.choice is None:
        return {**answer, "changes": changes}
    return {**answer, "changes": changes, "choice": choice_as_json(plan.choice)}

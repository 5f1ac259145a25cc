"""docs/recipe-keys.md is what the schema says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from luthier.recipe import DatasetSource, InstructFormat, Recipe, Sample, Study, TaskSpec, dialect
from luthier.recipe.kinds import choices_of
from luthier.recipe.schema import SECTIONS

ROOT = Path(__file__).parent.parent.parent


def test_the_committed_page_is_the_generated_one():
    spec = importlib.util.spec_from_file_location(
        "write_recipe_docs", ROOT / "scripts" / "write_recipe_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    committed = (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8")
    assert committed == script.write_docs(), "run scripts/write_recipe_docs.py"


def test_every_key_has_a_description():
    for model in (Recipe, DatasetSource, InstructFormat, Study, Sample, TaskSpec):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_no_key_stands_in_two_tables():
    tables = (Recipe.model_fields, dialect.LEGACY, dialect.NOT_YET, dialect.REFUSED)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))


def test_every_old_name_leads_to_a_key_that_exists():
    assert set(dialect.LEGACY.values()) <= set(Recipe.model_fields)
    assert set(dialect.DATASET_LEGACY.values()) <= set(DatasetSource.model_fields)
    assert {*dialect.LEGACY_VALUES, *dialect.REFUSED_VALUES} <= set(Recipe.model_fields)


def test_an_old_value_leads_to_one_that_is_taken_and_a_refused_one_is_not_taken():
    for key, values in dialect.LEGACY_VALUES.items():
        taken = choices_of(Recipe.model_fields[key])
        for old, new in values.items():
            assert old not in taken
            assert not taken or new in taken
    for key, refused in dialect.REFUSED_VALUES.items():
        taken = choices_of(Recipe.model_fields[key])
        for value, answer in refused.items():
            assert value not in taken
            assert answer.mend


def test_every_key_stands_in_one_section_of_the_page_and_in_its_order():
    listed = [key for part in SECTIONS.values() for key in part.model_fields]
    assert listed == list(Recipe.model_fields)

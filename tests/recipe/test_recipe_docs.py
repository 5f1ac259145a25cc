"""docs/recipe-keys.md is what the schema says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from luthier.recipe import DatasetSource, InstructFormat, Recipe, Sample, Study, TaskSpec, dialect

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
    known = {*Recipe.model_fields, *dialect.NOT_YET}
    assert set(dialect.LEGACY.values()) <= known
    assert set(dialect.DATASET_LEGACY.values()) <= set(DatasetSource.model_fields)
    for key, values in {**dialect.LEGACY_VALUES, **dialect.NOT_YET_VALUES}.items():
        assert key in Recipe.model_fields
        assert values

"""The recipe: one frozen model whose attributes are the keys of the dialect.

Unknown, legacy and refused keys never reach it: `dialect` answers those by name. Values that
depend on other keys are worked out by `resolve`.
"""

from __future__ import annotations

from collections.abc import Mapping

from luthier.recipe.keys import Keys
from luthier.recipe.keys.adapter import AdapterKeys, QuantisationKeys, ReloraKeys
from luthier.recipe.keys.data import AmountKeys, DataKeys
from luthier.recipe.keys.model import ModelKeys
from luthier.recipe.keys.optimizer import OptimizerKeys
from luthier.recipe.keys.preference import PreferenceKeys
from luthier.recipe.keys.projection import ApolloKeys, FiraKeys, GaloreKeys
from luthier.recipe.keys.run import CadenceKeys, DeviceKeys, OtherKeys, PrecisionKeys, ResultKeys


# From the last part to the first: pydantic puts the fields of the last base first.
class Recipe(
    OtherKeys,
    CadenceKeys,
    ResultKeys,
    DeviceKeys,
    PrecisionKeys,
    FiraKeys,
    ApolloKeys,
    GaloreKeys,
    OptimizerKeys,
    AmountKeys,
    PreferenceKeys,
    DataKeys,
    ReloraKeys,
    QuantisationKeys,
    AdapterKeys,
    ModelKeys,
):
    """Everything one training run depends on, apart from the machine."""


# Title → that part of the recipe, for the documentation.
SECTIONS: Mapping[str, type[Keys]] = {
    "Model": ModelKeys,
    "Adapter": AdapterKeys,
    "Quantised base": QuantisationKeys,
    "ReLoRA": ReloraKeys,
    "Data": DataKeys,
    "Preferences": PreferenceKeys,
    "Amounts": AmountKeys,
    "Optimisation": OptimizerKeys,
    "GaLore": GaloreKeys,
    "APOLLO": ApolloKeys,
    "Fira": FiraKeys,
    "Precision and memory": PrecisionKeys,
    "Several devices": DeviceKeys,
    "Results and tracking": ResultKeys,
    "Cadence": CadenceKeys,
    "The rest": OtherKeys,
}

"""Keys of the model that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from luthier.recipe.dataset import ChatTemplate
from luthier.recipe.keys import Keys
from luthier.recipe.kinds import Expects, Flag, Text, TextMapping, refusal

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def _check_special_tokens(value: Mapping[str, str]) -> Mapping[str, str]:
    for name in value:
        if name not in SPECIAL_TOKENS:
            raise refusal(
                f"`{name}` is not a special token that can be set.",
                f"Use {', '.join(f'`{token}`' for token in SPECIAL_TOKENS)}.",
            )
    return value


SpecialTokens = Annotated[
    TextMapping,
    AfterValidator(_check_special_tokens),
    Expects("a mapping of `bos_token`, `eos_token`, `pad_token` or `unk_token` to its text"),
]


class ModelKeys(Keys):
    """What is trained, and its words."""

    base_model: Text = Field(
        description="Hub id, local folder, or `embedded` for the small model in the package."
    )
    trust_remote_code: Flag = Field(
        default=False,
        description="Allow code of the model's repository to run; takes effect only together with "
        "the command-line flag of the same name.",
    )
    chat_template: ChatTemplate = Field(
        default="tokenizer_default",
        description="`tokenizer_default` (the model's own), `chatml`, or a Jinja template.",
    )
    special_tokens: SpecialTokens | None = Field(
        default=None, description="Special tokens to set on the tokenizer, such as `pad_token`."
    )

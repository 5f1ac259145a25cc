"""The shipped shapes, against published counts of parameters and against transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.plan.model.known_models import (
    ALIASES,
    KNOWN_MODELS,
    find_known,
    find_known_name,
    suggest_known,
)

# Parameters as the hub shows them for each model's stored tensors, without a tied head.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "codellama/CodeLlama-7b-hf": 6_738_546_688,
    "codellama/CodeLlama-34b-hf": 33_743_970_304,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-7b": 8_537_680_896,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b": 9_241_705_984,
    "google/gemma-2-27b": 27_227_128_320,
    "google/gemma-3-270m": 268_098_176,
    "google/gemma-3-1b": 999_885_952,
    "openai-community/gpt2": 124_439_808,
    "openai-community/gpt2-medium": 354_823_168,
    "openai-community/gpt2-large": 774_030_080,
    "openai-community/gpt2-xl": 1_557_611_200,
    "distilbert/distilgpt2": 81_912_576,
    "EleutherAI/pythia-70m": 70_426_624,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-410m": 405_334_016,
    "EleutherAI/pythia-1b": 1_011_781_632,
    "EleutherAI/pythia-1.4b": 1_414_647_808,
    "EleutherAI/pythia-2.8b": 2_775_208_960,
    "EleutherAI/pythia-6.9b": 6_857_302_016,
    "EleutherAI/pythia-12b": 11_846_072_320,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/Phi-3-medium-4k-instruct": 13_960_238_080,
    "microsoft/phi-4": 14_659_507_200,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "huggyllama/llama-30b": 32_528_943_616,
    "huggyllama/llama-65b": 65_285_660_672,
}

# One of each family, and the sizes of the documents; each is built within a second.
BUILT = (
    "openai-community/gpt2",
    "EleutherAI/pythia-1.4b",
    "Qwen/Qwen2.5-7B",
    "Qwen/Qwen2.5-72B",
    "Qwen/Qwen3-4B",
    "meta-llama/Llama-3.2-3B",
    "mistralai/Mistral-7B-v0.3",
    "mistralai/Mixtral-8x7B-v0.1",
    "google/gemma-2b",
    "google/gemma-2-9b",
    "google/gemma-3-1b",
    "microsoft/Phi-3-mini-4k-instruct",
    "ibm/PowerLM-3b",
    "bigcode/gpt_bigcode-santacoder",
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_shape_has_as_many_parameters_as_the_hub_shows(name: str) -> None:
    facts = find_known(name)
    assert facts is not None
    assert facts.parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", BUILT)
def test_transformers_builds_a_shipped_shape_with_as_many_parameters(name: str) -> None:
    values = dict(KNOWN_MODELS[name])
    with torch.device("meta"):
        config = AutoConfig.for_model(values.pop("model_type"), **values)
        model = AutoModelForCausalLM.from_config(config)
    facts = find_known(name)
    assert facts is not None
    assert facts.parameters == model.num_parameters()


def test_every_shipped_name_finds_its_own_shape_in_any_case() -> None:
    for name in KNOWN_MODELS:
        assert find_known_name(name) == name
        assert find_known_name(name.upper()) == name


def test_every_alias_leads_to_a_shipped_model() -> None:
    assert set(ALIASES.values()) <= set(KNOWN_MODELS)


@pytest.mark.parametrize(
    ("variant", "plain"),
    [
        ("Qwen/Qwen2.5-72B-Instruct", "Qwen/Qwen2.5-72B"),
        ("Qwen/Qwen2.5-Math-7B-Instruct", "Qwen/Qwen2.5-7B"),
        ("unsloth/Qwen2.5-Coder-14B-bnb-4bit", "Qwen/Qwen2.5-14B"),
        ("qwen-72b-math-nf4", "Qwen/Qwen2.5-72B"),
        ("NousResearch/Llama-2-70b-hf", "meta-llama/Llama-2-70b-hf"),
        ("TheBloke/Llama-2-70B-GPTQ", "meta-llama/Llama-2-70b-hf"),
        ("TheBloke/Mistral-7B-v0.1-GPTQ", "mistralai/Mistral-7B-v0.1"),
        ("TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ", "mistralai/Mixtral-8x7B-v0.1"),
        ("TechxGenus/Meta-Llama-3-8B-GPTQ", "meta-llama/Meta-Llama-3-8B"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
        ("google/gemma-2-9b-it", "google/gemma-2-9b"),
        ("EleutherAI/pythia-1b-deduped", "EleutherAI/pythia-1b"),
        ("unsloth/tinyllama-bnb-4bit", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        ("gpt2", "openai-community/gpt2"),
    ],
)
def test_a_variant_has_the_shape_of_the_plain_model_and_says_whose(
    variant: str, plain: str
) -> None:
    facts, base = find_known(variant), find_known(plain)
    assert facts is not None
    assert base is not None
    assert facts.linears == base.linears
    assert plain in facts.source


@pytest.mark.parametrize(
    "name", ["someone/Qwen2.5-7B", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-Math-PRM-7B"]
)
def test_a_name_that_may_have_another_shape_is_not_taken_for_a_known_one(name: str) -> None:
    assert find_known(name) is None


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    assert suggest_known("Qwen/Qwen2.5-7B-Instuct")[0] == "Qwen/Qwen2.5-7B"
    assert suggest_known("Qwen2.5-7B")[0] == "Qwen/Qwen2.5-7B"
    assert suggest_known("zzz") == ()

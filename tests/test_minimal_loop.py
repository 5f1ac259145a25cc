"""The example that teaches the loop runs, learns, and writes an adapter that PEFT reads."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.models.places import EMBEDDED_FOLDER

SCRIPT = Path(__file__).parents[1] / "examples" / "minimal_loop.py"


@pytest.mark.skipif(
    not (EMBEDDED_FOLDER / "model.safetensors").exists(), reason="the embedded model is not built"
)
def test_the_minimal_loop_learns_and_saves_what_peft_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["minimal_loop.py", "5", str(tmp_path / "adapter")])
    names = runpy.run_path(str(SCRIPT))
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", capsys.readouterr().out)]
    assert len(losses) == 5
    assert losses[-1] < losses[0]

    base = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        plain = base(ids).logits
        loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
        found, expected = loaded(ids).logits, names["causal"](ids).logits
    assert not torch.allclose(found, plain, atol=1e-2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "adapter").chat_template


def test_the_minimal_loop_is_about_a_hundred_flat_lines() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 125
    assert not [line for line in lines if line.startswith(("def ", "class "))]

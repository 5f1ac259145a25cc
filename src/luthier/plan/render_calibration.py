"""A calibration as text and as JSON."""

from __future__ import annotations

from typing import Any

from luthier.plan.time.calibration import Calibration, describe_calibration


def render_calibration(calibration: Calibration) -> str:
    """Speed and memory of the measured steps."""
    load = calibration.load
    tokens = load.mean_tokens * load.accumulation
    lines = [
        f"{calibration.steps} steps after warm-up, {tokens:,.0f} tokens each on one device",
        f"step           {calibration.step_seconds:.3g} s",
        f"tokens/s       {tokens / calibration.step_seconds:,.0f} on one device",
        f"peak memory    {calibration.peak_memory_bytes / 2**30:.2f} GiB",
    ]
    if calibration.projection_seconds:
        lines.append(f"new projection {calibration.projection_seconds:.3g} s more in its step")
    return "\n".join(lines)


def calibration_as_json(calibration: Calibration) -> dict[str, Any]:
    """What is stored, and the tokens per second of one device."""
    load = calibration.load
    rate = load.mean_tokens * load.accumulation / calibration.step_seconds
    return {**describe_calibration(calibration), "tokens_per_second": rate}

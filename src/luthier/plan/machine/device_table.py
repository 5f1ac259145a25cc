"""What is known of each device that a run can be planned for: one row each."""

from __future__ import annotations

from luthier.plan.figure import Basis, Figure
from luthier.plan.machine.hardware import Device, DeviceKind

NO_BF16 = "It has no bfloat16: runs compute in float16 or float32, and its float16 rate is used."
TWO_DIES = "One of the card's two dies, as the driver counts them: a card is two devices."
SHARED_MEMORY = "Its memory is shared with the system and with everything else that runs there."


def _device(
    name: str,
    tflops: float,
    memory_gb: float,
    memory_mib: float | None,
    bandwidth_gb_s: float,
    watts: float,
    usd_per_hour: float | None = None,
    *,
    kind: DeviceKind = "nvidia",
    assumed: str = "",
    has_bf16: bool = True,
    note: str = "",
) -> Device:
    """One row; `assumed` names the columns that are less sure than a data sheet."""
    maker = "AMD's data sheet" if kind == "amd" else "NVIDIA's data sheet"
    shown = "rocm-smi's total" if kind == "amd" else "nvidia-smi's total"

    def figure(value: float, column: str, source: str) -> Figure:
        unsure = column in assumed.split()
        basis: Basis = "assumed" if unsure else "given"
        return Figure(value, basis, "not checked with the maker's data sheet" if unsure else source)

    price = None
    if usd_per_hour is not None:
        price = Figure(
            usd_per_hour, "assumed", "a typical price to rent; --usd-per-hour gives yours"
        )
    return Device(
        name=name,
        kind=kind,
        bf16_tflops=figure(tflops, "tflops", maker if has_bf16 else f"{maker}, float16"),
        memory_gb=figure(memory_gb, "memory_gb", maker),
        bandwidth_gb_s=figure(bandwidth_gb_s, "bandwidth_gb_s", maker),
        usd_per_hour=price,
        watts=figure(watts, "watts", maker),
        memory_mib=None if memory_mib is None else figure(memory_mib, "memory_mib", shown),
        has_bf16=has_bf16,
        note=note,
    )


# Dense rates: half of what data sheets state with sparsity. GeForce cards multiply bfloat16 with
# float32 sums at half their float16 rate, which is what the white papers' smaller figure means.
_ROWS = (
    # name, TFLOP/s in bfloat16, GB as sold, MiB as shown, GB/s, W, $/h
    _device("A10", 125, 24, 23_028, 600, 150, 1.29, assumed="bandwidth_gb_s"),
    _device("A10G", 70, 24, 23_028, 600, 300, 1.01),
    _device("A30", 165, 24, 24_576, 933, 165),
    _device("A40", 149.7, 48, 46_068, 696, 300),
    _device("A100-40GB", 312, 40, 40_960, 1555, 400, 1.99, assumed="bandwidth_gb_s"),
    _device("A100-40GB-PCIe", 312, 40, 40_960, 1555, 250, 1.99, assumed="bandwidth_gb_s"),
    _device("A100-80GB", 312, 80, 81_920, 2039, 400, 2.79),
    _device("A100-80GB-PCIe", 312, 80, 81_920, 1935, 300, 2.79),
    _device("H100-PCIe", 756, 80, 81_559, 2000, 350, 1.99, assumed="bandwidth_gb_s"),
    _device("H100-SXM", 989, 80, 81_559, 3350, 700, 3.00),
    _device("H100-NVL", 835, 94, 95_830, 3938, 400),
    _device("H200", 989, 141, 143_771, 4800, 700, 4.00, assumed="bandwidth_gb_s"),
    _device("H200-NVL", 835, 141, 143_771, 4800, 600, assumed="bandwidth_gb_s"),
    _device("B200", 2250, 192, 183_359, 8000, 1000, 5.98, assumed="bandwidth_gb_s"),
    _device("L4", 121, 24, 23_034, 300, 72, 0.44, assumed="tflops bandwidth_gb_s"),
    _device("L40", 181, 48, 46_068, 864, 300),
    _device("L40S", 362, 48, 46_068, 864, 350, 0.79),
    _device("T4", 65, 16, 15_360, 320, 70, 0.53, has_bf16=False, note=NO_BF16),
    _device("V100-16GB", 125, 16, 16_384, 900, 300, has_bf16=False, note=NO_BF16),
    _device("V100-32GB", 125, 32, 32_768, 900, 300, has_bf16=False, note=NO_BF16),
    _device("RTX A5000", 111.1, 24, 24_564, 768, 230, assumed="tflops"),
    _device("RTX A6000", 154.8, 48, 49_140, 768, 300),
    _device("RTX 6000 Ada", 364.2, 48, 49_140, 960, 300, assumed="tflops"),
    _device("RTX PRO 6000", 503.8, 96, 97_887, 1792, 600, assumed="tflops"),
    _device("RTX 3060", 25.5, 12, 12_288, 360, 170, assumed="tflops"),
    _device("RTX 3070", 40.6, 8, 8_192, 448, 220),
    _device("RTX 3080", 59.5, 10, 10_240, 760, 320),
    _device("RTX 3090", 71, 24, 24_576, 936, 350, 0.22),
    _device("RTX 4060", 30.2, 8, 8_188, 272, 115, assumed="tflops"),
    _device("RTX 4060 Ti 8GB", 44.1, 8, 8_188, 288, 160, assumed="tflops"),
    _device("RTX 4060 Ti 16GB", 44.1, 16, 16_380, 288, 165, assumed="tflops"),
    _device("RTX 4070", 58.3, 12, 12_282, 504, 200, assumed="tflops"),
    _device("RTX 4070 Ti", 80.2, 12, 12_282, 504, 285, assumed="tflops"),
    _device("RTX 4080", 97.5, 16, 16_376, 717, 320),
    _device("RTX 4090", 165, 24, 24_564, 1008, 450, 0.34),
    _device("RTX 5070", 61.7, 12, 12_227, 672, 250, assumed="tflops"),
    _device("RTX 5070 Ti", 87.9, 16, 16_303, 896, 300, assumed="tflops"),
    _device("RTX 5080", 112.6, 16, 16_303, 960, 360, assumed="tflops"),
    _device("RTX 5090", 209, 32, 32_607, 1792, 575, 0.69, assumed="tflops"),
    _device(
        "GB10",
        125,
        128,
        122_573,  # 119.7 GiB are left of 128 GB on a DGX Spark
        273,
        140,
        kind="unified",
        assumed="tflops watts",
        note=SHARED_MEMORY,
    ),
    _device("MI210", 181, 64, 65_520, 1638, 300, kind="amd"),
    _device("MI250", 181, 64, 65_520, 1638, 250, kind="amd", note=TWO_DIES),
    _device("MI250X", 191.5, 64, 65_520, 1638, 280, kind="amd", note=TWO_DIES),
    _device(
        "MI300X", 1307, 192, 196_592, 5300, 750, kind="amd", assumed="memory_gb bandwidth_gb_s"
    ),
)

DEVICES: dict[str, Device] = {device.name: device for device in _ROWS}
"""Every GPU in the table by its name; `cpu` is this machine's processor (devices.py)."""

# Other spellings than the name itself; letters' case, spaces, dashes, makers' names do not count.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "A100-40GB": ("a100-40", "a100-sxm-40gb", "a100-sxm4-40gb"),
    "A100-40GB-PCIe": ("a100-pcie-40gb", "a100-40-pcie"),
    "A100-80GB": ("a100-80", "a100-sxm-80gb", "a100-sxm4-80gb", "a100-80gb-sxm", "a100-80gb-sxm4"),
    "A100-80GB-PCIe": ("a100-pcie-80gb", "a100-80-pcie"),
    "H100-PCIe": ("h100-80gb-pcie",),
    "H100-SXM": ("h100-80gb-hbm3", "h100-sxm5", "h100-hbm3"),
    "H100-NVL": ("h100-94gb",),
    "H200": ("h200-sxm",),
    "B200": ("b200-sxm", "b200-180gb"),
    "V100-16GB": ("v100-16", "v100-sxm2-16gb", "v100-pcie-16gb"),
    "V100-32GB": ("v100-32", "v100-sxm2-32gb", "v100-sxm3-32gb", "v100-pcie-32gb"),
    "RTX A5000": ("a5000",),
    "RTX A6000": ("a6000",),
    "RTX 6000 Ada": ("6000-ada", "rtx-ada-6000", "a6000-ada"),
    "RTX PRO 6000": ("rtx-pro-6000-blackwell", "rtx-pro-6000-blackwell-server-edition"),
    "RTX 3060": ("3060",),
    "RTX 3070": ("3070",),
    "RTX 3080": ("3080",),
    "RTX 3090": ("3090",),
    "RTX 4060": ("4060",),
    "RTX 4060 Ti 8GB": ("rtx-4060-ti", "4060-ti"),
    "RTX 4060 Ti 16GB": ("rtx-4060-ti", "4060-ti"),
    "RTX 4070": ("4070",),
    "RTX 4070 Ti": ("4070-ti",),
    "RTX 4080": ("4080",),
    "RTX 4090": ("4090",),
    "RTX 5070": ("5070",),
    "RTX 5070 Ti": ("5070-ti",),
    "RTX 5080": ("5080",),
    "RTX 5090": ("5090",),
    "GB10": ("dgx-spark", "spark", "grace-blackwell-gb10", "gb10-grace-blackwell"),
    "MI300X": ("mi300",),
}

# Names that fit several boards with different memory: the user has to choose.
for _board in ("A100-40GB", "A100-80GB"):
    SPELLINGS[_board] += ("a100", "a100-sxm", "a100-sxm4")
for _board in ("A100-40GB-PCIe", "A100-80GB-PCIe"):
    SPELLINGS[_board] += ("a100-pcie",)
for _board in ("V100-16GB", "V100-32GB"):
    SPELLINGS[_board] += ("v100", "v100-sxm2", "v100-pcie")

"""What a container or a service may use of its machine: Linux's control groups, versions 1 and 2.

A limit holds for a group and all groups in it, so the tightest on the way to the top counts. Inside
a container the group's own folder is often the root of what can be seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
# Version 1 says "no limit" with the largest multiple of a page that fits.
NO_LIMIT_BYTES = 2**60


def read_core_limit() -> int | None:
    """Whole cores' worth of time; None without a limit.

    Rounded down: with one thread too many the group is stopped in each period, and threads that
    wait for each other all wait for the stopped one.
    """
    quotas: list[float] = []
    for folder in _list_folders("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError):
            quota_us = int((folder / "cpu.cfs_quota_us").read_text())
            period_us = int((folder / "cpu.cfs_period_us").read_text())
            quotas += [quota_us / period_us] if quota_us > 0 else []
    return max(1, int(min(quotas))) if quotas else None


def read_memory_limit_bytes() -> int | None:
    """None without a limit."""
    limits: list[int] = []
    for folder in _list_folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
    return min((limit for limit in limits if limit < NO_LIMIT_BYTES), default=None)


def _list_folders(controller: str) -> Iterator[Path]:
    """This process's group and those that it lies in, up to the top, for one controller."""
    yield GROUPS
    yield GROUPS / controller
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    for line in lines:
        # 0::/path in version 2; N:cpu,cpuacct:/path in version 1.
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        roots = (GROUPS / controllers, GROUPS / controller) if controllers else (GROUPS,)
        for root in roots:
            own = root / path.lstrip("/")
            yield from (up for up in (own, *own.parents) if up.is_relative_to(root))

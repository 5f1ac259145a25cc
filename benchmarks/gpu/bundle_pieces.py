"""A bundle on disk: numbered folders, each below a size that any transport takes.

    .gpu-bundle/manifest.json        what is in it, for whom, with checksums
    .gpu-bundle/piece-01/x.whl       a whole wheel
    .gpu-bundle/piece-02/y.whl.1     a wheel larger than a piece, cut

install_bundle.py puts the pieces together again on the machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.bundle_resolve import Needed, Target, Wheel

FORMAT = 1
MANIFEST = "manifest.json"


class Chunk(NamedTuple):
    file: Path  # the wheel
    name: str  # what the chunk is called
    start: int
    size_bytes: int


def cut(file: Path, piece_bytes: int) -> list[Chunk]:
    """A file whole, or in as many parts as pieces of that size take."""
    size = file.stat().st_size
    if size <= piece_bytes:
        return [Chunk(file, file.name, 0, size)]
    return [
        Chunk(file, f"{file.name}.{number}", start, min(piece_bytes, size - start))
        for number, start in enumerate(range(0, size, piece_bytes), start=1)
    ]


def fill_pieces(chunks: Iterable[Chunk], piece_bytes: int) -> list[list[Chunk]]:
    """Chunks spread over few pieces: the largest first, each where there is still room."""
    pieces: list[list[Chunk]] = []
    for chunk in sorted(chunks, key=lambda each: (-each.size_bytes, each.name)):
        for piece in pieces:
            if sum(each.size_bytes for each in piece) + chunk.size_bytes <= piece_bytes:
                piece.append(chunk)
                break
        else:
            pieces.append([chunk])
    return pieces


def write_bundle(
    folder: Path,
    target: Target,
    roots: Iterable[str],
    needed: Iterable[Needed],
    pip: Wheel,
    piece_bytes: int,
) -> list[int]:
    """Write a bundle afresh; bytes of each piece.

    Args:
        roots: the requirements that the machine must meet once the bundle is installed.
        pip: brought along to install with, never installed.
    """
    needed = list(needed)
    chunks = {
        each.file.name: cut(each.file, piece_bytes) for each in (*(n.wheel for n in needed), pip)
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pieces = fill_pieces((chunk for each in chunks.values() for chunk in each), piece_bytes)
    places: dict[str, dict[str, Any]] = {}
    for number, piece in enumerate(pieces, start=1):
        place = folder / f"piece-{number:02d}"
        place.mkdir()
        for chunk in piece:
            content = _read(chunk)
            (place / chunk.name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            places[chunk.name] = {"file": f"{place.name}/{chunk.name}", "sha256": digest}

    def describe(wheel: Wheel) -> dict[str, Any]:
        return {
            "name": wheel.name,
            "version": str(wheel.version),
            "file": wheel.file.name,
            "sha256": hashlib.sha256(wheel.file.read_bytes()).hexdigest(),
            "requires": [str(requirement) for requirement in wheel.requires],
            "chunks": [places[chunk.name] for chunk in chunks[wheel.file.name]],
        }

    manifest = {
        "format": FORMAT,
        "target": {**target._asdict(), "glibc": ".".join(map(str, target.glibc))},
        "roots": list(roots),
        "pip": describe(pip),
        "wheels": [{**describe(each.wheel), "needs": str(each.needs)} for each in needed],
    }
    # Last: a bundle without a manifest is one that was not finished.
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return [sum(chunk.size_bytes for chunk in piece) for piece in pieces]


def _read(chunk: Chunk) -> bytes:
    with chunk.file.open("rb") as file:
        file.seek(chunk.start)
        return file.read(chunk.size_bytes)

"""Training: the one loop, what it saves and what it reports."""

from __future__ import annotations

from luthier.verbs import make_callable

make_callable(__name__)

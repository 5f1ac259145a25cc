"""Writing tensors: torch and safetensors hide a full disk behind errors of their own.

safetensors raises SafetensorError ("I/O error: No space left on device"), torch a RuntimeError of
its archive writer; neither is an OSError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from safetensors import SafetensorError

from luthier.files import explained_output_errors


@contextlib.contextmanager
def explained_tensor_errors(path: Path) -> Generator[None]:
    """Turn a failure to write tensors to `path` into an OutputError with a mend."""
    with explained_output_errors(path):
        try:
            yield
        except SafetensorError as error:
            _, found, reason = str(error).partition("I/O error: ")
            if not found:
                raise
            raise OSError(reason) from error
        except RuntimeError as error:
            if "inline_container" not in str(error):
                raise
            raise OSError("the disk refused to take more (full, or a limit)") from error

"""Writing a picture, page or chart: whole or not at all. It knows bytes and paths, not what they mean."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from llama_diversity.errors import BadValue


def write_whole(path: Path, data: bytes | str) -> None:
    """Write beside the target, then replace it: whoever reads meanwhile sees the old file or the new one.

    Text is written as UTF-8, the same bytes on every platform. Raises BadValue where the place cannot be written.
    """
    path = path.resolve()  # through a link, which stays
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    content = data.encode() if isinstance(data, str) else data
    try:
        if path.exists() and not path.is_file():  # a device or pipe cannot be replaced, only written
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise BadValue(
            "the output file", str(path), f"it cannot be written ({error.strerror}); name another place"
        ) from error
    except BaseException:  # Ctrl-C in the middle leaves nothing behind either
        beside.unlink(missing_ok=True)
        raise

"""Findings as JSON lines in a file: what a log shipper or an analyst picks up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from guardian.errors import MachineError


class FileSink:
    """Appends findings to a file; a line that a crash tore is cut before anything is written behind it."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending.

        Raises:
            MachineError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
            self._cut_torn_line()
        except OSError as error:
            raise MachineError(f"{path}: cannot be written ({error.strerror})") from None

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        """Append one line an item; they are on disk once this returns."""
        await asyncio.to_thread(self._append, b"".join(msgspec.json.encode(item) + b"\n" for item in items))

    async def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fdatasync(self._descriptor)

    def _cut_torn_line(self) -> None:
        end = size = os.fstat(self._descriptor).st_size
        while end:
            start = max(0, end - 65_536)
            block = os.pread(self._descriptor, end - start, start)
            newline = block.rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)

"""The seal of a database file: the SHA-256 of each of its pages, so that a changed byte anywhere can be named.

SQLite's own checks do not see a byte that changed in the unused part of a page or inside a value. The seal is written
whenever the write-ahead log has been moved into the file, which is the only moment at which the file changes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

VERSION: Final = "tamv-guardian-seal/1"


def seal_path(database: Path) -> Path:
    """Where the seal of a database stands."""
    return database.with_suffix(".seal")


def pending_path(database: Path) -> Path:
    """A file that exists while the database is being changed and sealed; left behind by a crash in that moment."""
    return database.with_suffix(".sealing")


def text_of(database: Path) -> str:
    """The seal that belongs to the file as it is now."""
    lines = [VERSION]
    with database.open("rb") as file:
        head = file.read(18)
        size = int.from_bytes(head[16:18], "big") or 4096
        size = 65536 if size == 1 else size
        file.seek(0)
        while page := file.read(size):
            lines.append(hashlib.sha256(page).hexdigest())
    body = "\n".join(lines) + "\n"
    return f"{body}{hashlib.sha256(body.encode()).hexdigest()}\n"


def write(database: Path) -> None:
    """Seal a database file as it is now, durably."""
    replace_durably(seal_path(database), text_of(database).encode())


def differences(database: Path, sealed: str) -> list[str]:
    """What is not as it was sealed: pages by their number from 1, or the seal itself."""
    body, _, last = sealed.removesuffix("\n").rpartition("\n")
    if hashlib.sha256(f"{body}\n".encode()).hexdigest() != last or not sealed.endswith("\n"):
        return [f"{seal_path(database).name}: the seal is damaged"]
    now = text_of(database).split("\n")
    then = sealed.split("\n")
    if now == then:
        return []
    pages = max(len(now), len(then)) - 3
    changed = [n for n in range(1, pages + 1) if now[n : n + 1] != then[n : n + 1]]
    return [f"{database.name}: page {number} is not as it was sealed" for number in changed[:20]] or [
        f"{database.name}: the file is not as it was sealed"
    ]


def replace_durably(path: Path, data: bytes) -> None:
    """Give a file new content so that after a crash it holds the old or the new one, never a part."""
    fresh = path.with_name(path.name + ".tmp")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""A disk in memory that can lose power between any two operations, and then forgets what was not synced."""

from __future__ import annotations

import random
from pathlib import Path

from guardian.journal import Files


class PowerCutError(OSError):
    """The machine is off."""

    def __init__(self) -> None:
        super().__init__(5, "power cut")


class File:
    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced = len(data)


class Disk(Files):
    """``cut_at``: the operation (counted from 0) during which the power goes; None = never."""

    def __init__(
        self, names: dict[str, File] | None = None, *, cut_at: int | None = None, seed: int = 0
    ) -> None:
        self.names = dict(names or {})
        self.states = [dict(self.names)]
        """What the folder may look like after a cut: as last synced, or as it was after any operation since."""
        self.opened: dict[int, File] = {}
        self.cut_at = cut_at
        self.operations = 0
        self.random = random.Random(seed)
        self.synced: list[int] = []

    def _step(self) -> bool:
        """Whether this operation happens in part only; raises when the power is already off."""
        if self.cut_at is not None and self.operations >= self.cut_at:
            if self.operations > self.cut_at:
                raise PowerCutError
            self.operations += 1
            return True
        self.operations += 1
        return False

    def _renamed(self) -> None:
        self.states.append(dict(self.names))

    def after_cut(self, *, cut_at: int | None = None) -> Disk:
        """The disk as the next start finds it."""
        names = self.random.choice(self.states)
        left: dict[str, File] = {}
        for name, file in names.items():
            loose = bytes(file.data[file.synced :])
            kept = loose[: self.random.randint(0, len(loose))]
            match self.random.randrange(3):
                case 0 if kept:
                    kept = bytes(len(kept))
                case 1 if kept:
                    hole = self.random.randrange(len(kept))
                    kept = kept[:hole] + bytes(min(64, len(kept) - hole)) + kept[hole + 64 :]
            left[name] = File(bytes(file.data[: file.synced]) + kept)
        return Disk(left, cut_at=cut_at, seed=self.random.randrange(2**32))

    def lock(self, folder: Path) -> int:
        return -1

    def sizes(self, folder: Path) -> dict[str, int]:
        if self._step():
            raise PowerCutError
        return {name: len(file.data) for name, file in self.names.items()}

    def open(self, path: Path, *, fresh: bool) -> int:
        torn = self._step()
        if fresh:
            self.names[path.name] = File()
            self._renamed()
        if torn:
            raise PowerCutError
        descriptor = len(self.opened)
        self.opened[descriptor] = self.names[path.name]
        return descriptor

    def append(self, descriptor: int, data: bytes) -> None:
        torn = self._step()
        self.opened[descriptor].data += data[: self.random.randint(0, len(data))] if torn else data
        if torn:
            raise PowerCutError

    def sync(self, descriptor: int) -> None:
        torn = self._step()
        file = self.opened[descriptor]
        self.synced.append(descriptor)
        if not torn or self.random.random() < 0.5:
            file.synced = len(file.data)
        if torn:
            raise PowerCutError

    def close(self, descriptor: int) -> None:
        pass

    def read(self, path: Path, at: int, length: int) -> bytes:
        return bytes(self.names[path.name].data[at : at + length])

    def truncate(self, path: Path, size: int) -> None:
        torn = self._step()
        file = self.names[path.name]
        if not torn or self.random.random() < 0.5:
            del file.data[size:]
            file.synced = size
        if torn:
            raise PowerCutError

    def rename(self, path: Path, name: str) -> None:
        torn = self._step()
        self.names[name] = self.names.pop(path.name)
        self._renamed()
        if torn:
            raise PowerCutError

    def unlink(self, path: Path) -> None:
        torn = self._step()
        del self.names[path.name]
        self._renamed()
        if torn:
            raise PowerCutError

    def sync_folder(self, folder: Path) -> None:
        torn = self._step()
        if not torn or self.random.random() < 0.5:
            self.states = [dict(self.names)]
        if torn:
            raise PowerCutError

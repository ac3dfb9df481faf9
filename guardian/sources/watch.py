"""Which files a pattern stands for over time: it follows them through renaming, copying, truncation and compression.

Owns what is remembered of each file and what a change of the folder means. Does not own how contents are read and told
apart (``contents``) nor what is taken from them (``tail``). All of it can be concluded again from an older state, so a
state that was stored before a rotation leads to the same places as one that was stored after it.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from guardian.sources.contents import SAMPLE_BYTES, Contents, FileState, codec_of, digest

_BACK_FILE: Final = r"[._-][0-9][0-9._T-]*"
"""What rotation puts behind a name: a number or a date."""
_COMPRESSED: Final = r"(\.gz|\.zst)?"

_NOWHERE: Final = -2
_SLACK_NS: Final = 10**9
"""A file system's clock lags behind ours, by a tick of the kernel or by what two machines differ."""

Identity = tuple[int, int]


class Found(NamedTuple):
    """A regular file of the folder."""

    path: str
    size: int
    changed_ns: int


def _found(path: str, identity: Identity) -> Found | None:
    """The file at a path, if it is still this one."""
    try:
        seen = os.stat(path)  # noqa: PTH116  (paths stay text: there may be many)
    except OSError:
        return None
    same = stat.S_ISREG(seen.st_mode) and (seen.st_dev, seen.st_ino) == identity
    return Found(path, seen.st_size, seen.st_mtime_ns) if same else None


class Position(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All that is remembered over a restart."""

    since: int = 0
    """When the folders were last looked at, ns since 1970: a back file that changed later holds something new."""
    files: list[FileState] = []
    orphans: list[FileState] = []
    """What files held that hold something else now, while it may still turn up in a copy."""


class Watch:
    """The files of some patterns, and how far each was read."""

    def __init__(
        self,
        patterns: tuple[str, ...],
        position: Position,
        *,
        max_files: int,
        at_end: bool,
        count: Callable[[str, int], None],
    ) -> None:
        self.states: dict[Identity, FileState] = {state.identity: state for state in position.files}
        self._orphans = [(state, -1.0) for state in position.orphans]
        self._since = self._looked = position.since
        self._patterns = patterns
        self._max_files = max_files
        self._at_end = at_end
        self._count = count
        self._contents: dict[Identity, Contents] = {}
        self._checked: dict[Identity, tuple[int, int]] = {}
        self._changed_at: dict[Identity, tuple[int, float]] = {}
        self._siblings: dict[str, dict[Identity, Found]] = {}
        self._waiting = 0
        self._first = True
        self._moved = False

    def position(self) -> Position:
        """All that has to be remembered."""
        orphans = [state for state, _ in self._orphans]
        return Position(since=self._since, files=list(self.states.values()), orphans=orphans)

    def close(self) -> None:
        """Close every file."""
        for contents in self._contents.values():
            contents.close()
        self._contents.clear()

    def contents(self, state: FileState) -> Contents | None:
        """The open file; None if it cannot be opened (any more)."""
        held = self._contents.get(state.identity)
        if held is None:
            try:
                held = Contents(state.path)
            except OSError:
                return None
            if held.identity != state.identity:
                held.close()
                return None
            self._contents[state.identity] = held
        return held

    def doubt(self, state: FileState) -> None:
        """Have the next look ask again whether the file still holds what it held."""
        self._checked.pop(state.identity, None)

    def finish(self, state: FileState) -> None:
        """Nothing more is read from it."""
        state.done = True
        self._close(state.identity)

    def still_for(self, state: FileState, size: int, now: float) -> float:
        """Seconds of the monotonic clock since a file's size last changed."""
        known, since = self._changed_at.get(state.identity, (-1, now))
        if known != size:
            self._changed_at[state.identity] = (size, now)
            return 0.0
        return now - since

    def look(self, *, wall_ns: int, now: float, settle_s: float) -> None:
        """Find out what became of the files, and which are new."""
        self._siblings.clear()
        live = self._matching()
        moved = self._first or not self.states
        lost = [state for state, _ in self._orphans]
        for state in list(self.states.values()):
            moved |= self._follow(state, live, now, settle_s, lost)
        # Only now is it certain which files are known: an inode that one left may be that of what another became.
        self._find_heirs(lost, live, now, settle_s)
        before = len(self.states)
        waiting = sum(
            self._meet(identity, found) for identity, found in live.items() if identity not in self.states
        )
        if waiting > self._waiting:
            self._count("too_many_files", waiting - self._waiting)
        self._waiting = waiting
        moved |= len(self.states) > before
        # Asked once more at the next look, for the same reason as in _gone.
        judged = self._missed(live) if self._since and (moved or self._moved) else True
        if judged:
            looked = wall_ns - _SLACK_NS
            self._since, self._looked = self._looked or looked, looked
        self._moved = moved
        self._first = False

    def _matching(self) -> dict[Identity, Found]:
        paths = {path for pattern in self._patterns for path in glob.glob(pattern, recursive=True)}  # noqa: PTH207  (paths stay text: there may be many)
        found = {}
        for path in sorted(paths):
            try:
                seen = os.stat(path)  # noqa: PTH116  (as above)
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode):
                found[seen.st_dev, seen.st_ino] = Found(path, seen.st_size, seen.st_mtime_ns)
        return found

    def _beside(self, path: str) -> dict[Identity, Found]:
        """The files in the folder of ``path`` whose names begin as its does."""
        folder, name = os.path.split(path)
        stem = name.split(".")[0]
        key = os.path.join(folder, stem)  # noqa: PTH118  (as above)
        if key not in self._siblings:
            found = self._siblings[key] = {}
            try:
                with os.scandir(folder or ".") as entries:
                    for entry in entries:
                        if entry.name.startswith(stem) and entry.is_file():
                            seen = entry.stat()
                            where = os.path.join(folder, entry.name)  # noqa: PTH118  (as above)
                            found[seen.st_dev, seen.st_ino] = Found(where, seen.st_size, seen.st_mtime_ns)
            except OSError:
                pass  # no such folder any more: nothing beside it
        return self._siblings[key]

    def _follow(
        self,
        state: FileState,
        live: dict[Identity, Found],
        now: float,
        settle_s: float,
        lost: list[FileState],
    ) -> bool:
        """Bring a state up to date; say whether its file was moved, and add it to ``lost`` if it holds something else."""
        moved = False
        seen = _found(state.path, state.identity)
        if seen is None:
            seen = live.get(state.identity) or self._beside(state.path).get(state.identity)
            if seen is None:
                return self._gone(state, now, settle_s, lost)
            state.path, state.rotated, moved = seen.path, True, True
        signature = (seen.size, seen.changed_ns)
        known = self._checked.get(state.identity)
        if known == signature:
            return moved
        # Written to and not grown, or grown from nothing: whatever it held in between may be in a copy.
        moved |= known is not None and (seen.size <= known[0] or not known[0])
        contents = self.contents(state)
        try:
            if contents is None or contents.holds(state):
                self._checked[state.identity] = signature
                if contents is not None and state.done:
                    del self._contents[state.identity]
                    contents.close()
                elif contents is not None and state.head_size < SAMPLE_BYTES:
                    contents.sample(state)
                return moved
        except OSError:
            return moved
        # Truncated, or another file has its inode: that one is met anew.
        self._drop(state.identity)
        lost.append(state)
        return True

    def _gone(self, state: FileState, now: float, settle_s: float, lost: list[FileState]) -> bool:
        """No name leads to the file. While it is open it is read to its end; then what it became is found."""
        state.rotated = True
        contents = self._contents.get(state.identity)
        if contents is not None and not contents.codec and not contents.holds(state):
            fresh = FileState(
                device=state.device, inode=state.inode, path=state.path, log=state.log, rotated=True
            )
            contents.sample(fresh)
            self.states[state.identity] = fresh
            lost.append(state)
            return True
        # Without it being open too: a folder in which files are being renamed may be read without one of them.
        size = _NOWHERE if contents is None else contents.size()
        if self.still_for(state, size, now) < settle_s or (state.offset < size and not state.done):
            if contents is None:
                lost.append(state)  # what it became may be there already
            return False
        self._drop(state.identity)
        lost.append(state)
        return True

    def _find_heirs(
        self, lost: list[FileState], live: dict[Identity, Found], now: float, settle_s: float
    ) -> None:
        """Let what is lost go on elsewhere; what is found nowhere is sought for a while."""
        since = {id(state): now if at < 0 else at for state, at in self._orphans}
        self._orphans = []
        for state in lost:  # and those that are added meanwhile
            known = self.states.get(state.identity) is state
            if self._became(state, live, lost):
                if known:
                    self._drop(state.identity)
            elif not known and now - since.get(id(state), now) < settle_s:
                self._orphans.append((state, since.get(id(state), now)))

    def _became(self, state: FileState, live: dict[Identity, Found], lost: list[FileState]) -> bool:
        """Go on with the file that holds what this one held: a copy, or compressed. Say whether there is one."""
        if not state.head_size:
            return False
        state.done = False
        for identity, found in (live | self._beside(state.path)).items():
            known = self.states.get(identity)
            try:
                with Contents(found.path) as contents:
                    if contents.identity != identity or not found.size or (known and contents.holds(known)):
                        continue
                    if not contents.holds(state):
                        continue
            except OSError:
                continue
            if known is not None:  # another file has its inode
                self._drop(identity)
                lost.append(known)
            device, inode = identity
            self.states[identity] = msgspec.structs.replace(
                state, device=device, inode=inode, path=found.path, rotated=True
            )
            return True
        return False

    def _meet(self, identity: Identity, found: Found) -> bool:
        """Take up a file that matches; say whether there is no room for it."""
        if not found.size or codec_of(found.path):
            return False
        try:
            with Contents(found.path) as contents:
                if contents.identity != identity or self._is_copy(contents):
                    return False
                return not self._take_up(
                    contents, found.path, rotated=False, at_end=self._at_end and self._first
                )
        except OSError:
            return False

    def _is_copy(self, contents: Contents) -> bool:
        """Whether a file is a copy, perhaps unfinished, of one that is read anyway."""
        start = contents.read(0, SAMPLE_BYTES)
        for state in self.states.values():
            if state.done or codec_of(state.path):
                continue
            if len(start) >= state.head_size and digest(start[: state.head_size]) != state.head:
                continue
            held = self.contents(state)
            if contents.holds(state) if held is None else contents.begins(held):
                return True
        return False

    def _missed(self, live: dict[Identity, Found]) -> bool:
        """Take up back files that were made while nobody looked; say whether all of them could be judged."""
        made = {identity: (found, found.path) for identity, found in live.items() if codec_of(found.path)}
        literal = {pattern for pattern in self._patterns if not glob.has_magic(pattern)}
        for log in sorted(literal | {state.log for state in self.states.values()}):
            name = os.path.basename(log)  # noqa: PTH119  (as above)
            stem, ending = os.path.splitext(name)  # noqa: PTH122  (as above)
            back = re.compile(
                f"({re.escape(name)}{_BACK_FILE}|{re.escape(stem)}{_BACK_FILE}{re.escape(ending)}){_COMPRESSED}"
            )
            for identity, found in self._beside(log).items():
                if back.fullmatch(os.path.basename(found.path)):  # noqa: PTH119  (as above)
                    made.setdefault(identity, (found, log))
        judged = True
        for identity, (found, log) in sorted(made.items(), key=lambda item: item[1][0].changed_ns):
            if identity not in self.states and found.size and found.changed_ns > self._since:
                judged &= self._judge(found.path, identity, log)
        return judged

    def _judge(self, path: str, identity: Identity, log: str) -> bool:
        try:
            with Contents(path) as contents:
                if contents.identity != identity:
                    return False
                if contents.codec:
                    known = any(
                        (state.offset or state.rotated) and contents.holds(state)
                        for state in self.states.values()
                    )
                else:
                    known = self._is_copy(contents)
                return known or self._take_up(contents, log, rotated=True, at_end=False)
        except OSError:  # it is being written
            return False

    def _take_up(self, contents: Contents, log: str, *, rotated: bool, at_end: bool) -> bool:
        """Remember a new file; False if there is no room."""
        if len(self.states) >= self._max_files and not self._make_room():
            return False
        device, inode = contents.identity
        state = FileState(device=device, inode=inode, path=contents.path, log=log, rotated=rotated)
        contents.sample(state)
        if at_end:
            state.offset = contents.size()
            before = contents.read(max(0, state.offset - SAMPLE_BYTES), min(SAMPLE_BYTES, state.offset))
            state.back_size, state.back = len(before), digest(before)
            state.passing = not before.endswith(b"\n")
        self.states[contents.identity] = state
        return True

    def _make_room(self) -> bool:
        """Forget the rotated file that was taken up longest ago, if it was read to its end."""
        for identity, state in self._read_through():
            if state.rotated:
                self._drop(identity)
                return True
        return False

    def _read_through(self) -> Iterator[tuple[Identity, FileState]]:
        for identity, state in list(self.states.items()):
            contents = None if state.done else self.contents(state)
            if state.done or (
                contents is not None and not contents.codec and contents.size() <= state.offset
            ):
                yield identity, state

    def _drop(self, identity: Identity) -> None:
        self._close(identity)
        del self.states[identity]
        self._changed_at.pop(identity, None)

    def _close(self, identity: Identity) -> None:
        contents = self._contents.pop(identity, None)
        if contents is not None:
            contents.close()
        self._checked.pop(identity, None)

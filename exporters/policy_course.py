"""What becomes of alerts, one after the other: the life cycle of findings, and who is told of them when.

Owns the rules. A finding is opened by the first alert about an entity, updated by later ones and resolved once: by a
new rise from nothing, or when its level has fallen. An alert goes to the sinks of the routes that take it, unless
a silence, a louder finding or the repeat interval holds it back; then it is counted, and its sink is told the count
and where the finding stands later on, or with its end. The end of a finding is told to every sink that was told of it,
whatever else holds. So the last word about a finding reaches all who heard the first.

Does not own the memory (``exporters.policy_tables``), times of groups (``exporters.policy_groups``) nor when its
rules are asked (``exporters.policy``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import sqlalchemy as sa

from exporters.alert import Alert, Decision
from exporters.policy_groups import Way
from exporters.policy_inhibition import Louder
from exporters.policy_tables import Finding, Group, Held, Rows, Told, findings, groups, held, told
from exporters.silences import silenced_by
from guardian.decisions.silence import Silence
from guardian.levels import Level


class Memory:
    """The rows that decisions read and change."""

    def __init__(self) -> None:
        self.findings = Rows(findings, Finding)
        self.told = Rows(told, Told)
        self.held = Rows(held, Held)
        self.groups = Rows(groups, Group)

    def save(self, connection: sa.Connection) -> None:
        """Write what changed."""
        self.findings.save(connection)
        self.told.save(connection)
        self.held.save(connection)
        self.groups.save(connection)


class Course:
    """Alerts in their order, against one memory."""

    def __init__(
        self,
        memory: Memory,
        *,
        sinks: Sequence[str],
        ways: Sequence[Way],
        silences: Sequence[Silence],
        louder: Louder,
    ) -> None:
        self._memory = memory
        self._sinks = frozenset(sinks)
        self._ways_to = {sink: [way for way in ways if sink in way.sinks] for sink in sinks}
        self._named: Mapping[str, Way] = {way.name: way for way in ways}
        self._silences = silences
        self._louder = louder

    def take(self, alert: Alert) -> list[Decision]:
        """What becomes of an alert: its decision, behind that about the end of a finding that it shows to be over."""
        finding = self._memory.findings.get(alert.role, alert.entity)
        if alert.activity == "resolved":
            return self._take_end(alert, finding)
        ended: list[Decision] = []
        if finding is not None and alert.level_from == Level.NONE:
            ended = self.close(finding, alert.created_at)
            finding = None
        if finding is None:
            alert = replace(alert, finding=alert.id, activity="open")
            finding = Finding(
                role=alert.role,
                entity=alert.entity,
                id=alert.id,
                opened_at=alert.created_at,
                last_at=alert.created_at,
                layer=alert.layer,
                peak=alert.level_to,
                scored=alert.event >= 0,
                alert="",
            )
        else:
            alert = replace(alert, finding=finding.id, activity="update")
            self._louder.note(finding, -1)
            finding = msgspec.structs.replace(
                finding,
                last_at=max(finding.last_at, alert.created_at),
                layer=alert.layer,
                peak=max(finding.peak, alert.level_to),
            )
        finding.alert = encode(alert)
        self._memory.findings.put(finding)
        self._louder.note(finding, 1)
        return [*ended, self._told(alert, finding)]

    def close(self, finding: Finding, at: int, end: Alert | None = None) -> list[Decision]:
        """The end of a finding: to each sink that was told of it, or would have been, with what was held back there.

        A sink that was told nothing since a silence holds everything back is told once that is over.
        """
        memory, last = self._memory, decode(finding.alert)
        if end is None:
            end = replace(
                last,
                id=_digest(finding.id, "resolved"),
                created_at=at,
                level_from=last.level_to,
                level_to=Level.NONE,
                activity="resolved",
            )
        silence = silenced_by(self._silences, last, last.level_to, at)
        owed: dict[tuple[int, int], dict[str, int]] = {}
        for sink in sorted(self._sinks):
            was_told, row = memory.told.get(finding.id, sink), memory.held.get(finding.id, sink)
            if row is not None and was_told is None and silence is not None:
                memory.held.put(
                    msgspec.structs.replace(
                        row, count=row.count + 1, last=end.id, silence=silence, alert=encode(end)
                    )
                )
            elif row is not None or was_told is not None:
                due = 0 if was_told is None else self._flush(was_told.route, was_told.key, at)
                stands_for = (0, 0) if row is None else (row.count, row.since)
                owed.setdefault(stands_for, {})[sink] = due
        self._forget(finding, at)
        decisions = [self._decision(end, {})] if not owed else []
        for number, ((count, since), to) in enumerate(sorted(owed.items())):
            # The sinks differ in what they missed; each is told one end.
            id_ = end.id if number == 0 else _digest(end.id, str(count), str(since))
            decisions.append(
                self._decision(replace(end, id=id_, suppressed=count, suppressed_since=since), to)
            )
        return decisions

    def sum_up(self, rows: Sequence[Held], findings_by_id: Mapping[str, Finding], now: int) -> list[Decision]:
        """Tell what was held back, one alert a finding and count, unless a silence still says not to."""
        memory = self._memory
        alike: dict[tuple[str, int, int, str, str], list[str]] = {}
        for row in rows:
            if row.sink not in self._sinks:
                memory.held.drop(row)
                continue
            alert = decode(row.alert or findings_by_id[row.finding].alert)
            silence = silenced_by(self._silences, alert, max(alert.level_from, alert.level_to), now)
            if silence is not None:
                memory.held.put(msgspec.structs.replace(row, silence=silence))
                continue
            alike.setdefault((row.finding, row.count, row.since, row.last, row.alert), []).append(row.sink)
            memory.held.drop(row)
            if not row.alert:
                self._note_summary(row, alert)
        decisions = []
        for (finding, count, since, last, end), sinks in alike.items():
            alert = decode(end or findings_by_id[finding].alert)
            summary = replace(
                alert,
                id=_digest(finding, "suppressed", last, *sinks),
                created_at=now,
                finding=finding,
                activity="resolved" if end else "update",
                suppressed=count,
                suppressed_since=since,
            )
            decisions.append(self._decision(summary, dict.fromkeys(sinks, 0)))
        return decisions

    def _take_end(self, alert: Alert, finding: Finding | None) -> list[Decision]:
        """An alert that is an end by itself: one about our own delivery, whose level no engine knows."""
        if finding is not None:
            return self.close(finding, alert.created_at, replace(alert, finding=finding.id))
        # It was opened before this memory begins: to whom its opening would have gone.
        owed = {
            sink: 0
            for sink, ways in self._ways_to.items()
            if any(way.takes(alert, alert.level_from) for way in ways)
        }
        return [self._decision(replace(alert, finding=alert.identity), owed)]

    def _told(self, alert: Alert, finding: Finding) -> Decision:
        """To whom an alert goes and when; what is held back is counted."""
        level, at = alert.level_to, alert.created_at
        silence = silenced_by(self._silences, alert, level, at)
        held_back = silence is not None or self._louder.holds_back(alert, level)
        owed: dict[str, int] = {}
        joined: dict[str, tuple[str, int]] = {}
        for sink, ways in self._ways_to.items():
            taking = [way for way in ways if way.takes(alert, level)]
            before = self._memory.told.get(finding.id, sink)
            if not held_back:
                passed = [way for way in taking if not _repeats(way, before, level, at)]
                for way in passed:
                    if way.name not in joined:
                        joined[way.name] = self._join(way, alert, level)
                if passed:
                    first = min(passed, key=lambda way: joined[way.name][1])
                    key, owed[sink] = joined[first.name]
                    self._note_told(Told(finding.id, sink, first.name, key, at, level))
                    continue
            if taking:
                self._hold(alert, finding, sink, taking[0], silence)
        return self._decision(alert, owed)

    def _hold(self, alert: Alert, finding: Finding, sink: str, way: Way, silence: str | None) -> None:
        at, held = alert.created_at, self._memory.held
        row = held.get(finding.id, sink)
        if row is None:
            due_at = at if silence is not None else at + way.interval
            row = Held(finding.id, sink, way.name, 0, at, alert.id, due_at, silence or "", "")
        held.put(
            msgspec.structs.replace(
                row,
                count=row.count + 1,
                since=min(row.since, at),
                last=alert.id,
                silence=silence or row.silence,
            )
        )

    def _join(self, way: Way, alert: Alert, level: Level) -> tuple[str, int]:
        """The group of an alert that is told, and when."""
        key, at = way.key(alert, level), alert.created_at
        if not key:
            return "", 0
        group = self._memory.groups.get(way.name, key)
        if group is None or way.is_over(group, at):
            members = 0 if group is None else group.members
            group = self._memory.groups.put(Group(way.name, key, at, members, 0))
        return key, way.flush(group, at)

    def _note_told(self, row: Told) -> None:
        """A sink is told of a finding, which belongs to one group a sink."""
        before = self._memory.told.get(row.finding, row.sink)
        if before is not None:
            self._leave(before, row.at)
        group = self._memory.groups.get(row.route, row.key)
        if group is not None:
            self._memory.groups.put(msgspec.structs.replace(group, members=group.members + 1, ends_at=0))
        self._memory.told.put(row)

    def _note_summary(self, row: Held, alert: Alert) -> None:
        """A sink is told where an open finding stands; that does not begin its repeat interval anew."""
        before = self._memory.told.get(row.finding, row.sink)
        if before is None:
            new = Told(row.finding, row.sink, row.route, "", alert.created_at, alert.level_to)
            self._memory.told.put(new)
        elif before.level < alert.level_to:
            self._memory.told.put(msgspec.structs.replace(before, level=int(alert.level_to)))

    def _leave(self, row: Told, at: int) -> None:
        group = self._memory.groups.get(row.route, row.key)
        if group is not None:
            members = group.members - 1
            ends_at = 0 if members else self._flush(row.route, row.key, at)
            self._memory.groups.put(msgspec.structs.replace(group, members=members, ends_at=ends_at))

    def _flush(self, route: str, key: str, at: int) -> int:
        """When a group is told next; at once where there is none, or its route is gone."""
        group, way = self._memory.groups.get(route, key), self._named.get(route)
        return way.flush(group, at) if group is not None and way is not None and key else 0

    def _forget(self, finding: Finding, at: int) -> None:
        memory = self._memory
        for told_row in list(memory.told.under(finding.id).values()):
            self._leave(told_row, at)
            memory.told.drop(told_row)
        for row in list(memory.held.under(finding.id).values()):
            if not row.alert:
                memory.held.drop(row)
        memory.findings.drop(finding)
        self._louder.note(finding, -1)

    def _decision(self, alert: Alert, owed: Mapping[str, int]) -> Decision:
        return Decision(alert, owed, self._sinks.difference(owed))


def encode(alert: Alert) -> str:
    """An alert as it is remembered."""
    return msgspec.json.encode(alert).decode()


def decode(text: str) -> Alert:
    """An alert that is remembered."""
    return msgspec.json.decode(text, type=Alert)


def _repeats(way: Way, before: Told | None, level: Level, at: int) -> bool:
    """Whether a sink was told of the finding just now and no quieter; a clock that jumped makes nothing a repetition."""
    return before is not None and level <= before.level and abs(at - before.at) < way.repeat


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

import json
from datetime import UTC, datetime

import pytest

from guardian.backtest import Result
from guardian.errors import InputError


def test_json_is_plain_and_complete(small: Result):
    told = small.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert list(told) == ["by", "windowSeconds", "coverage", "metrics", "config"]
    assert (told["by"], told["windowSeconds"]) == ("target", 300.0)
    assert told["coverage"]["judgedWindows"] == 48
    assert told["metrics"]["scorers"]["guardian"]["averagePrecision"] == 1.0
    assert told["metrics"]["scorers"]["guardian"]["averagePrecisionInterval"] == [1.0, 1.0]
    assert told["metrics"]["attacks"][0]["delayS"] == 60.0
    assert told["metrics"]["alerts"][2]["falseAlerts"] == 1


@pytest.mark.parametrize(
    "at", ["1970-01-02T06:01:59Z", datetime(1970, 1, 2, 6, 0, tzinfo=UTC), (30 * 3600 + 299) * 10**9]
)
def test_explain_tells_the_peak_of_the_window(small: Result, at: datetime | str | int):
    told = small.explain("web", at)
    assert told.start == datetime(1970, 1, 2, 6, tzinfo=UTC)
    assert (told.score, told.labels) == (90.0, ("scan", "dump"))
    assert small.scores.filter(event=told.event).get_column("risk").to_list() == [90.0]
    assert [(reason.contribution, reason.event) for reason in told.reasons] == [(90.0, told.event)]
    assert told.kinds == {"kind of scan": 2, "kind of -": 1, "kind of dump": 1}


def test_explain_says_when_there_is_nothing(small: Result):
    with pytest.raises(InputError, match="no event of this target"):
        small.explain("web", "1970-01-02T06:05:00Z")
    with pytest.raises(InputError, match="no event of this target"):
        small.explain("nobody", 0)


def test_frames_can_be_worked_with(small: Result):
    assert small.windows.schema["start"].is_temporal()
    assert small.alerts.get_column("entity").to_list() == ["web", "web", "web", "db"]
    assert len(small.scores) == small.coverage.scored

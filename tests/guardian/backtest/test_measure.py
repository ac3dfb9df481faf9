from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.backtest import Result, backtest, backtest_files
from guardian.config import Config, Rules
from guardian.errors import GuardianError, InputError, MapError

HOUR = 3600
MARKER = "marker-7f3a"


def test_a_perfect_score_is_perfect(small: Result):
    best = small.metrics.scorers["guardian"]
    assert (best.roc_auc, best.average_precision) == (1.0, 1.0)
    assert set(small.metrics.scorers) == {"guardian", "count", "elastic", "splunk", "secops"}


def test_labels_never_reach_the_engine(value_engine: Any, frame: Any):
    made = []

    def engine(config: Config) -> Any:
        made.append(value_engine(config))
        return made[-1]

    events = frame([(0.0, "web", 1.0, MARKER)]).with_columns(kind=pl.lit("k"), other=pl.lit(MARKER))
    backtest(events, engine=engine)
    (seen,) = made[0].seen
    assert MARKER not in str(seen.to_pylist())


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"by": "host"}, "by"),
        ({"window": "5 minutes"}, "window"),
        ({"window": "0s"}, "window"),
        ({"warmup": "-1h"}, "warmup"),
        ({"labels": "nowhere"}, "labels"),
    ],
)
def test_arguments_that_do_not_fit_are_named(frame: Any, arguments: dict[str, Any], place: str):
    with pytest.raises(InputError) as caught:
        backtest(frame([(0.0, "web", 1.0, "")]), **arguments)
    assert caught.value.place == place


def test_no_usable_event_is_an_error_and_not_a_result(frame: Any):
    with pytest.raises(InputError, match=r"events: expected some .* \(1 read, no_kind 1\)"):
        backtest(frame([(0.0, "web", 1.0, "")]).with_columns(kind=pl.lit("")))
    with pytest.raises(InputError, match=r"\(0 read\)"):
        backtest(frame([]))


def test_nobody_in_the_judged_role_is_said_by_the_coverage(value_engine: Any, frame: Any):
    result = backtest(frame([(0.0, "web", 1.0, "x")]), by="session", engine=value_engine)
    assert (result.coverage.scored, result.coverage.unnamed, result.coverage.entities) == (1, 1, 0)
    assert (result.metrics.attacks, len(result.windows)) == ([], 0)


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_the_order_of_input_does_not_matter(frame: Any, value_engine: Any, random: Any):
    rows = [
        (number * 600.0, f"host{number % 3}", float(number % 97), "x" if number % 31 == 0 else "")
        for number in range(99)
    ]
    shuffled = rows[:]
    random.shuffle(shuffled)
    first, second = (backtest(frame(each), warmup="1h", engine=value_engine) for each in (rows, shuffled))
    assert first.metrics == second.metrics
    assert first.windows.equals(second.windows)


def day_of_work(frame: Any) -> pl.DataFrame:
    rows = [(number * 97.0, f"host{number % 5}", 1.0, "") for number in range(1800)]
    rows += [(130_000.0 + number, "host3", 1.0, "intrusion") for number in range(40)]
    return frame(rows).with_columns(actor=pl.lit("ana"), outcome=pl.lit(1, pl.Int8), severity=pl.lit(0.5))


def test_the_real_engine(frame: Any):
    events = day_of_work(frame)
    result = backtest(events)
    best, plain = result.metrics.scorers["guardian"], result.metrics.scorers["count"]
    assert best.average_precision is not None
    assert best.average_precision > 0.9
    assert plain.roc_auc is not None
    assert result.coverage.positives == 1
    at_ends = result.scores.filter(pl.col("multivariate") > 0)
    assert at_ends["entity"].cast(pl.String).unique().to_list() == ["host3"], (
        "the burst, at the end of its window"
    )
    assert len(result.scores) == 2 * len(events) + len(at_ends)
    again = backtest(events.to_arrow(compat_level=pl.CompatLevel.oldest()))
    assert again.to_json() == result.to_json()


def test_the_configuration_is_the_one_given(frame: Any):
    config = Config(rules=Rules(honeypots=("host3",)))
    plain, trapped = backtest(day_of_work(frame)), backtest(day_of_work(frame), config=config)
    assert trapped.config == config.digest() != plain.config
    assert trapped.metrics != plain.metrics


NDJSON = b"""{"at": 1600000000, "what": "login", "on": "web", "is": "-"}
{"at": 1600100000, "what": "login", "on": "web", "is": "-"}
{"at": 1600100700, "what": "dump", "on": "web", "is": "theft"}
{"what": "no time", "on": "web", "is": "-"}
broken
"""
MAP = """[map]
ts = { field = "at", unit = "s" }
source = { const = "test" }
kind = { field = "what" }
target = { field = "on" }
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    data, mapping = tmp_path / "events.ndjson", tmp_path / "map.toml"
    data.write_bytes(NDJSON)
    mapping.write_text(MAP + 'label = { field = "is", benign = ["-"] }\n')
    return data, mapping


def test_files_with_a_map(files: tuple[Path, Path]):
    data, mapping = files
    result = backtest_files([data, data], map=str(mapping))
    assert result.coverage.read == 10
    assert sum(result.coverage.rejected.values()) == 4
    assert (result.coverage.scored, result.coverage.positives) == (6, 1)
    assert [attack.label for attack in result.metrics.attacks] == ["theft"]


def test_files_without_labels_or_map_are_refused(files: tuple[Path, Path], tmp_path: Path):
    data, mapping = files
    mapping.write_text(MAP)
    with pytest.raises(InputError, match="expected a label"):
        backtest_files([data], map=str(mapping))
    with pytest.raises(MapError):
        backtest_files([data], map="nowhere")
    with pytest.raises(GuardianError):
        backtest_files([tmp_path / "absent.ndjson"], map=str(mapping))


@pytest.mark.parametrize(("scenario", "positives"), [("russellmitchell", 11), ("shaw", 7)])
def test_recorded_attacks_rank_above_the_references(shared_data: Path, scenario: str, positives: int):
    result = backtest_files([shared_data / "ait-ads" / f"{scenario}.parquet"], map="ait-ads")
    assert result.coverage.positives == positives
    precision = {name: each.average_precision or 0.0 for name, each in result.metrics.scorers.items()}
    assert precision["guardian"] > max(precision["count"], precision["elastic"])
    row = result.windows.sort("guardian").row(-1, named=True)
    told = result.explain(row["entity"], row["start"])
    assert sum(reason.contribution for reason in told.reasons) == pytest.approx(told.score, abs=1e-9)


def test_labels_beside_a_pyarrow_table(value_engine: Any, frame: Any):
    events = frame([(0.0, "web", 1.0, ""), (1.0, "web", 2.0, "")]).drop("label").to_arrow()
    result = backtest(events, labels=pa.array([False, True]), warmup="0s", engine=value_engine)
    assert [attack.label for attack in result.metrics.attacks] == ["attack"]


def quiet(**more: Any) -> list[dict[str, Any]]:
    return [{"role": "target", "entity": "web", "kind": "kind of scan"} | more]


def test_what_is_acknowledged_no_longer_counts(frame: Any, tmp_path: Path):
    hosts = ("web", "db")
    rows = [(hour * HOUR, host, 1.0, "-") for hour in range(48) for host in hosts]
    rows += [(30 * HOUR + second, host, 1.0, "scan") for second in range(60) for host in hosts]
    events = frame(rows)

    def peaks(**more: Any) -> dict[str, float]:
        result = backtest(events, warmup="24h", **more)
        found = result.windows.filter(pl.col("positive")).group_by("entity").agg(pl.col("guardian").max())
        return dict(found.iter_rows())

    loud = peaks()
    assert min(loud.values()) > 0.0
    silent = peaks(acknowledged=quiet())
    assert silent["web"] < loud["web"] / 10
    assert silent["db"] > 0.0
    file = tmp_path / "known.toml"
    file.write_text('[[acknowledged]]\nrole = "target"\nentity = "web"\nkind = "kind of scan"\n')
    assert peaks(acknowledged=file) == silent
    assert peaks(acknowledged=quiet(entity="nobody")) == peaks(acknowledged=quiet(kind="other")) == loud
    hour = {hour: datetime.fromtimestamp(hour * HOUR, UTC) for hour in (20, 31)}
    assert peaks(acknowledged=quiet(**{"from": hour[31]})) == loud
    assert peaks(acknowledged=quiet(until=hour[20])) == loud
    assert peaks(acknowledged=quiet(**{"from": hour[20], "until": hour[31]})) == silent
    result = backtest(events, acknowledged=quiet())
    at = 30 * HOUR * 10**9
    explained = {host: {reason.kind for reason in result.explain(host, at).reasons} for host in hosts}
    assert explained["web"] < explained["db"]


def test_only_engines_that_can_acknowledge_are_asked_to(frame: Any, value_engine: Any):
    events = frame([(0.0, "web", 1.0, "")])
    assert backtest(events, engine=value_engine).coverage.scored == 1
    with pytest.raises(InputError, match="an engine that can acknowledge"):
        backtest(events, engine=value_engine, acknowledged=quiet())
    with pytest.raises(InputError, match=r"acknowledged\[0\]\.role"):
        backtest(events, acknowledged=quiet(role="host"))

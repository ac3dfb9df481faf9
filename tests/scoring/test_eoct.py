import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from scoring import eoct

Floats = NDArray[np.float64]

ORDER = {"approved": 0, "review": 1, "rejected": 2}
LEVELS = {"low": 0, "medium": 1, "high": 2, "critical": 3}

any_signal = st.floats(allow_nan=True, allow_infinity=True)
rows = st.integers(0, 20).flatmap(lambda n: arrays(np.float64, (n, 5), elements=any_signal))
unit_rows = st.integers(1, 20).flatmap(lambda n: arrays(np.float64, (n, 5), elements=st.floats(0, 1)))


@pytest.mark.parametrize(
    ("signals", "risk", "verdict", "level", "reasons"),
    [
        ([0, 0, 0, 0, 0], 0.0, "approved", "low", ()),
        ([0, 1, 0, 0, 0], 0.25, "approved", "low", ("harm_risk",)),
        ([1, 1, 0, 0, 0], 0.50, "review", "medium", ("coercion_risk", "harm_risk")),
        ([1, 1, 1, 0, 0], 0.70, "review", "high", ("coercion_risk", "harm_risk", "privacy_risk")),
        (
            [1, 1, 1, 1, 0],
            0.85,
            "rejected",
            "critical",
            ("coercion_risk", "harm_risk", "privacy_risk", "transparency_risk"),
        ),
        ([1, 0, 0, 1, 0], 0.40, "approved", "low", ("coercion_risk", "transparency_risk")),
        ([0.6, 0.6, 0.6, 0.6, 0.6], 0.60, "review", "medium", ()),
        ([0.8, 0.8, 0.8, 0.8, 0.8], 0.80, "review", "high", tuple(f"{s}_risk" for s in eoct.SIGNALS)),
    ],
)
def test_golden_cases(signals: list[float], risk: float, verdict: str, level: str, reasons: tuple[str, ...]):
    got = eoct.risk([signals])
    assert got == pytest.approx(risk, abs=1e-12)
    assert eoct.verdict(got).tolist() == [verdict]
    assert eoct.risk_level(got).tolist() == [level]
    assert eoct.reasons([signals]) == [reasons]


@pytest.mark.parametrize("edge", [0.4, 0.6, 0.8])
def test_a_band_edge_belongs_to_the_lower_band_whatever_the_binary_float(edge: float):
    below, on, above = np.nextafter(edge, 0), edge, np.nextafter(edge, 1)
    assert len(set(eoct.risk_level([below, on, above]).tolist())) == 1
    assert eoct.risk_level([edge + 2e-9]) != eoct.risk_level([edge])


def test_not_stated_is_zero_and_infinities_are_the_ends():
    assert eoct.risk([[np.nan, np.inf, -np.inf, 7, -7]]) == pytest.approx(0.25 + 0.15, abs=1e-12)


def test_a_risk_that_cannot_be_judged_is_not_approved():
    assert eoct.verdict([np.nan, np.inf, -np.inf]).tolist() == ["rejected", "rejected", "approved"]


def test_veto_gives_at_least_review_and_never_lowers():
    signals = [[0, 0.9, 0, 0, 0], [0, 0.89, 0, 0, 0], [1, 1, 1, 1, 1]]
    veto = eoct.vetoed(signals, 0.9)
    assert eoct.verdict(eoct.risk(signals), veto=veto).tolist() == ["review", "approved", "rejected"]
    assert eoct.risk_level(eoct.risk(signals), veto=veto).tolist() == ["medium", "low", "critical"]


def test_a_veto_below_the_reason_threshold_still_names_its_signal():
    assert eoct.reasons([[0.5, 0, 0, 0, 0]], veto_at=0.5) == [("coercion_risk",)]


def test_a_signal_that_is_not_stated_vetoes_nothing_even_at_zero():
    assert eoct.vetoed([[np.nan] * 5], 0.0).tolist() == [False]
    assert eoct.reasons([[np.nan] * 5], veto_at=0.0) == [()]


@pytest.mark.parametrize("shape", [(5,), (1, 4), (1, 6), (1, 5, 1)])
def test_another_shape_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected shape \(n, 5\)"):
        eoct.risk(np.zeros(shape))


@given(rows)
def test_bounded_finite_deterministic_and_additive(signals: Floats):
    risk = eoct.risk(signals)
    assert risk.shape == (len(signals),)
    assert np.all((risk >= 0) & (risk <= 1))
    assert np.array_equal(risk, eoct.risk(signals.copy()))
    assert np.allclose(eoct.contributions(signals).sum(axis=1), risk, rtol=0, atol=1e-12)


@given(unit_rows, st.integers(0, 4), st.floats(0, 1))
def test_more_of_any_signal_never_lowers_risk_verdict_or_level(signals: Floats, column: int, more: float):
    raised = signals.copy()
    raised[:, column] = np.maximum(raised[:, column], more)
    before, after = eoct.risk(signals), eoct.risk(raised)
    assert np.all(after >= before)
    for low, high, veto_low, veto_high in zip(
        before, after, eoct.vetoed(signals, 0.9), eoct.vetoed(raised, 0.9), strict=True
    ):
        assert ORDER[eoct.verdict([high], veto=veto_high)[0]] >= ORDER[eoct.verdict([low], veto=veto_low)[0]]
        assert (
            LEVELS[eoct.risk_level([high], veto=veto_high)[0]]
            >= LEVELS[eoct.risk_level([low], veto=veto_low)[0]]
        )


@given(rows)
def test_a_row_does_not_depend_on_its_neighbours(signals: Floats):
    together = eoct.risk(signals)
    assert [eoct.risk(row[None, :])[0] for row in signals] == together.tolist()

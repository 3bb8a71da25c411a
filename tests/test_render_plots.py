"""Box plots, entropies, probabilities and the summary table in the terminal."""

from __future__ import annotations

import math

import pytest
from render_samples import HOSTILE, HOSTILE_NAME, SENTENCE, SGR, assert_golden, rendered, unsafe_in
from rich.cells import cell_len
from rich.console import RenderableType

from llama_diversity.records import Piece
from llama_diversity.render.plots import (
    ArmSummary,
    Axis,
    BoxPlots,
    DifferenceSummary,
    EntropyStrip,
    StackedProbabilities,
    box_of,
    summary_table,
)
from llama_diversity.render.scales import Alternative, ScoredToken

BASE = [1.1, 1.2, 1.3, 1.4, 1.45, 1.5, 1.55, 1.6, 1.7, 2.4]
ALIGNED = [0.6, 0.85, 0.9, 0.95, 1.0, 1.0, 1.05, 1.1, math.nan]
ARMS = [ArmSummary("base", 1.48, 0.17, 0.017, 100), ArmSummary("aligned", 0.96, 0.12, 0.012, 100)]
DIFFERENCE = DifferenceSummary("aligned - base", -0.52, 0.021, -0.561, -0.479)


def tokens(words: str, entropies: list[float]) -> list[ScoredToken]:
    return [
        ScoredToken(
            Piece(f" {word}".encode()),
            2.0,
            entropy,
            position + 1,
            tuple(Alternative(Piece(b"x"), p) for p in (0.5, 0.25)),
        )
        for position, (word, entropy) in enumerate(zip(words.split(), entropies, strict=True))
    ]


SAMPLES = {
    "base": tokens("the CEO of a startup", [4.0, 2.0, 1.0, 0.5, 0.0]),
    "aligned": tokens("a company that", [1.0, 0.25, math.nan]),
}


def plots(*, ascii: bool = False) -> dict[str, RenderableType]:
    return {
        "box": BoxPlots({"base": BASE, "aligned": ALIGNED}, unit="mean entropy, bits", ascii=ascii),
        "entropies": EntropyStrip(SAMPLES, ascii=ascii),
        "probabilities": StackedProbabilities(SAMPLES, ascii=ascii),
        "summary": summary_table(ARMS, DIFFERENCE, unit="bits", ascii=ascii),
    }


def hostile_plots(encoding: str = "utf-8") -> list[RenderableType]:
    return [
        BoxPlots({HOSTILE_NAME: BASE, "b": [1.0]}, unit=HOSTILE_NAME, title=HOSTILE_NAME),
        EntropyStrip({HOSTILE_NAME: HOSTILE, "b": HOSTILE[::-1]}, title=HOSTILE_NAME),
        StackedProbabilities({HOSTILE_NAME: HOSTILE, "b": HOSTILE[::-1]}, title=HOSTILE_NAME),
        summary_table([ArmSummary(HOSTILE_NAME, 1, 1, 1, 1)], unit=HOSTILE_NAME, title=HOSTILE_NAME, encoding=encoding),
    ]


@pytest.mark.parametrize("name", plots())
@pytest.mark.parametrize("form", ["unicode", "ascii", "narrow"])
def test_golden(name: str, form: str) -> None:
    width = 44 if form == "narrow" else 80
    shown = rendered(plots(ascii=form == "ascii")[name], width=width)
    assert_golden(f"plot-{name}-{form}.txt", shown)
    if form == "ascii":
        assert shown.isascii()


@pytest.mark.parametrize("name", plots())
@pytest.mark.parametrize("depth", ["truecolor", "256", "16"])
def test_colours_change_nothing_that_is_read(name: str, depth: str) -> None:
    coloured = rendered(plots()[name], depth)
    assert "\x1b[" in coloured
    plain = [line.rstrip() for line in rendered(plots()[name]).splitlines()]
    # Where there are colours, a space at a token's edge is a dot in both.
    assert [line.rstrip() for line in SGR.sub("", coloured).splitlines()] == plain


@pytest.mark.parametrize("name", ["box", "entropies", "probabilities"])
@pytest.mark.parametrize("width", [20, 41, 60, 80, 119, 200])
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    lines = rendered(plots()[name], width=width).splitlines()
    assert max(map(cell_len, lines)) <= min(width, 120)


def test_wider_terminals_get_longer_bars() -> None:
    def bar(width: int) -> int:
        return rendered(plots()["entropies"], width=width).count("█")

    assert bar(40) < bar(59)  # one arm above the other
    assert bar(60) < bar(80) < bar(120)  # side by side


@pytest.mark.parametrize("depth", ["none", "256"])
def test_hostile_text_is_inert(depth: str) -> None:
    for plot in hostile_plots():
        assert set(unsafe_in(rendered(plot, depth, width=150))) <= {"\u200d"}
    for plot in hostile_plots("ascii"):
        assert SGR.sub("", rendered(plot, depth, encoding="ascii", width=150)).isascii()


# Boxes and axes.


def test_a_box_by_hand() -> None:
    # Sorted 1 2 3 4 5 6 7 8 50: quartiles at ranks 2, 4, 6 of 0..8, so 3, 5, 7; reach 1.5 * 4 = 6, so up to 13.
    box = box_of([50, 1, 2, 3, 4, 5, 6, 7, 8])
    assert box == (1.0, 3.0, 5.0, 7.0, 8.0, (50.0,))
    assert box_of([2.0]) == (2.0, 2.0, 2.0, 2.0, 2.0, ())


@pytest.mark.parametrize(
    ("low", "high", "width", "ticks"),
    [
        (0.6, 2.4, 60, [0.5, 1.0, 1.5, 2.0, 2.5]),
        (0.0, 10.0, 60, [0, 2, 4, 6, 8, 10]),
        (3.0, 3.0, 60, [3, 3.5]),
        (0.0, 0.0, 60, [0.0, 0.2]),
        (-1.0, 1.0, 40, [-1, -0.5, 0, 0.5, 1]),
        (1e-9, 5e-9, 40, [1e-9, 2e-9, 3e-9, 4e-9, 5e-9]),
    ],
)
def test_axes_have_round_ticks_around_the_data(low: float, high: float, width: int, ticks: list[float]) -> None:
    axis = Axis.around(low, high, width=width)
    assert axis.ticks() == pytest.approx(ticks, rel=1e-9, abs=1e-15)
    assert axis.low <= low
    assert high <= axis.high
    assert 0 <= axis.column(low) <= axis.column(high) < width


def test_a_median_lies_where_the_axis_says() -> None:
    # Axis 0 to 10, 11 cells for the axis: value v in cell v.
    axis = Axis(0, 10, 5, 11)
    assert [axis.column(value) for value in (0, 2.4, 5, 10, 99, -99)] == [0, 2, 5, 10, 10, 0]
    assert axis.labels() == "0    5   10"


def test_values_that_are_nan_are_not_counted() -> None:
    shown = rendered(BoxPlots({"base": BASE, "aligned": ALIGNED, "none": [math.nan]}, unit="bits"))
    assert "base (n=10)" in shown
    assert "aligned (n=8)" in shown
    assert "none (n=0)     no values" in shown


def test_no_data_at_all() -> None:
    assert "no values" in rendered(BoxPlots({}, unit="bits"))
    assert "no values" in rendered(EntropyStrip({"base": []}))
    assert "likeliest" in rendered(StackedProbabilities({"base": []}))
    assert "likeliest" in rendered(StackedProbabilities({}))


# Bars.


@pytest.mark.parametrize("width", [30, 80, 120])
def test_a_stack_fills_its_bar_exactly_and_in_proportion(width: int) -> None:
    one = {"base": SAMPLES["base"][:1]}
    line = rendered(StackedProbabilities(one), width=width).splitlines()[1]
    bar = [character for character in line.split(" ", 1)[1] if character in "12."]
    n_bar = width - min(12, width // 3) - 8
    assert len(bar) == n_bar + 1  # the rank, #1, is the one more
    assert abs(bar.count("1") - 1 - n_bar / 2) < 1
    assert abs(bar.count("2") - n_bar / 4) < 1
    assert abs(bar.count(".") - n_bar / 4) < 1


def test_the_rank_of_the_token_drawn_is_written() -> None:
    assert "#31999" in rendered(StackedProbabilities({"base": [SAMPLES["base"][0]._replace(rank=31999)]}))


def test_entropies_share_one_scale_over_both_arms() -> None:
    shown = rendered(EntropyStrip(SAMPLES), width=80).splitlines()
    first = shown[1]
    assert (first[:38].count("█"), first[38:].count("█")) == (19, 4)  # 4 bits fill 19 cells, 1 bit 4 and three quarters


# The table.


def test_what_is_undefined_says_so() -> None:
    shown = rendered(
        summary_table(
            [ArmSummary("base", 1.0, None, math.nan, 1)],
            DifferenceSummary("aligned - base", None, None, None, 0.1),
            unit="bits",
        )
    )
    assert shown.count("undefined") == 5
    assert "nan" not in shown


def test_the_level_of_the_interval_is_the_one_given() -> None:
    shown = rendered(summary_table(ARMS, DifferenceSummary("d", 1, 1, 0, 2, 99.0), unit="bits"))
    assert "99 % interval" in shown
    assert "+0.000 to +2.000" in shown


def test_long_samples_are_listed_whole() -> None:
    shown = rendered(EntropyStrip({"base": SENTENCE, "aligned": SENTENCE[:3]}))
    assert len(shown.splitlines()) == 1 + len(SENTENCE) + 1

"""Two models on the same texts as exhibits: divergences, what is blocked, both by figure, and one text in colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table as RichTable
from rich.text import Text

from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import (
    Between,
    Exhibit,
    Figure,
    Remark,
    Section,
    Share,
    Table,
    Tokens,
    Value,
    written,
)
from llama_diversity.render.heatmap import DifferenceHeatmap
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import ScoredToken
from llama_diversity.studies.diff.analysis import HEADLINE, MEASURES, Band, Comparison, PerToken
from llama_diversity.studies.measuring.noise import Floor
from llama_diversity.studies.measuring.sharpening import Around, Sharpening

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

LEAST_LIVE = 0.1  # a curve stops where fewer of the texts still run
_SHOWN_POSITIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_WORDS = {
    "kl_bits": "KL(base, arm)",
    "reverse_kl_bits": "KL(arm, base)",
    "js_bits": "JS",
    "base_entropy_bits": "entropy, base",
    "aligned_entropy_bits": "entropy, arm",
    "entropy_change_bits": "entropy, arm - base",
    "base_surprisal_bits": "surprisal, base",
    "aligned_surprisal_bits": "surprisal, arm",
    "surprisal_change_bits": "surprisal, arm - base",
}


@dataclass(frozen=True)
class Facts:
    """What was read by whom. `prompt` is None for a text that was given.

    `first`: of each arm the first text's tokens under the base and under the arm. `floors`: what the arithmetic of base
    and arm makes of no difference. `sampler`: how the texts were drawn, where that is not the base model itself.
    """

    prompt: str | None
    base: str  # the name of the first arm
    models: Mapping[str, str]
    max_tokens: int
    above: float
    tokenizer: str
    first: Mapping[str, tuple[Sequence[ScoredToken], Sequence[ScoredToken]]]
    floors: Mapping[str, Floor]
    sampler: str | None = None


def section(found: Mapping[str, Comparison], facts: Facts, command: str) -> Section:
    """The whole comparison for a reader; `found` by arm, each held against the base."""
    one = next(iter(found.values()))
    models = ", ".join(f"{arm} is {model}" for arm, model in facts.models.items())
    if facts.prompt is None:
        texts = f"One text that was given, {counted(one.n_tokens, 'token')}"
        limit = "One text: nothing is said of others."
    else:
        texts = (
            f"{counted(one.n_texts, 'completion')} of “{facts.prompt}” by {facts.base} itself, raw, at most "
            f"{counted(facts.max_tokens, 'token')} each, {counted(one.n_tokens, 'token')} in all"
        )
        limit = "One prompt: the result holds for this prompt, not for prompts in general."
    about = f"{texts}, read by every model with the same token ids ({models}). {limit}"
    title = "Diff: what does post-training block?"
    return Section("diff", title, about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Mapping[str, Comparison], facts: Facts) -> Iterator[Exhibit]:
    for arm, one in found.items():
        yield Remark(_headline(arm, one, facts))
        if (sharpening := one.sharpening_above(facts.floors[arm])) is not None:
            yield Remark(_temperature_in_words(arm, sharpening, facts))
    if facts.sampler is not None:
        yield Remark(
            f"The completions were drawn with {facts.sampler}: not from the base model's own distribution, so the "
            "prefixes and the share of drawn tokens are of that sampler's texts.",
            is_warning=True,
        )
    yield _divergences(found, facts)
    yield _temperatures(found, facts)
    yield _mass(found, facts)
    yield _of_tokens(found, facts)
    yield _mass_figure(found, facts)
    yield _kl_figure(found, facts)
    yield from _temperature_figure(found, facts)
    yield _positions(found)
    for number, (arm, (base, aligned)) in enumerate(facts.first.items(), start=1):
        name = "diff-tokens" if len(found) == 1 else f"diff-tokens-{number}"
        yield Tokens(
            name,
            f"The first text under {facts.base} (A) and {arm} (B)",
            DifferenceHeatmap(
                base,
                aligned,
                models=(facts.models[facts.base], facts.models[arm]),
                tokenizer=facts.tokenizer,
                title=f"The first text under {facts.base} (A) and {arm} (B)",
            ),
            "B - A: how much more surprising the arm finds a token. The arithmetic alone moves a token by up to "
            f"{written(facts.floors[arm].surprisal_most_bits)} bits.",
        )
        yield _token_table(f"{name}-numbers", arm, base, found[arm])


_WAYS = "64 tokens of a fixed text in one pass, one by one and in a batch, attention fused or not."


def _headline(arm: str, one: Comparison, facts: Facts) -> str:
    kl, blocked, noise = one.measures["kl_bits"], one.at(HEADLINE), facts.floors[arm]
    what = "completion" if facts.prompt is not None else "text"
    divergence = f"KL({facts.base}, {arm}) is {written(kl.value)} bits per token{_within(kl)}"
    if (kl.value if math.isnan(kl.low) else kl.low) <= noise.kl_bits:
        alone = f"the arithmetic alone makes of one model read in two ways ({written(noise.kl_bits)})"
        none = f"no difference between {facts.base} and {arm} is shown"
        if kl.value <= noise.kl_bits:
            return f"{divergence}, no more than {alone}: {none}."
        return f"{divergence}; that interval reaches down to what {alone}: {none} by so few texts."
    tokens = f"Tokens of base probability above {facts.above:g} to which {arm} gives less than {HEADLINE:g}"
    texts = f"{blocked.texts.k} of {counted(blocked.texts.n, what)} hold" + ("s" if blocked.texts.n == 1 else "")
    share = f"{written(Share(blocked.mass.value))} of the base's probability{_within(blocked.mass, percent=True)}"
    if 0 < blocked.mass.value <= _floor_of_blocked(one, noise)[HEADLINE]:
        share += ", no more than the arithmetic alone makes"
    floor = f"the arithmetic's floor is {written(noise.kl_bits)}"
    return f"{divergence}; {floor}. {tokens} have {share}; {texts} at least one of them."


def _temperature_in_words(arm: str, found: Sharpening, facts: Facts) -> str:
    """What the best temperature of the base explains, and what it leaves."""
    share, left, kl = found.share, found.left_bits, f"KL({arm}, {facts.base})"
    temperature = f"The best single temperature of {facts.base}, T {found.temperature.value:.2f},"
    if left.value <= facts.floors[arm].kl_bits:
        return f"{temperature} removes all of {kl} but what the arithmetic makes: mere sharpening."
    within = "" if math.isnan(share.low) else f" (95 %: {written(Share(share.low))} to {written(Share(share.high))})"
    edge = " T is at the end of the range that is looked at." if found.is_edge else ""
    return (
        f"{temperature} removes {written(Share(share.value))} of {kl}{within}; {written(left.value)} bits per token "
        f"are a change that no temperature makes.{edge}"
    )


def _floor_of_blocked(one: Comparison, noise: Floor) -> dict[float, float]:
    """By threshold."""
    return dict(zip((blocked.below for blocked in one.blocked), noise.blocked, strict=True))


def _within(found: PerToken, *, percent: bool = False) -> str:
    if math.isnan(found.low):
        return ""
    if percent:
        return f" (95 %: {written(Share(found.low))} to {written(Share(found.high))})"
    return f" (95 %: {written(Between(found.low, found.high))})"


# ---- tables


def _divergences(found: Mapping[str, Comparison], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            *(_WORDS[measure], arm, rate.value, None if math.isnan(rate.se) else rate.se, _interval(rate)),
            _floor_of(measure, facts.floors[arm]),
        )
        for measure in MEASURES
        for arm, rate in ((arm, one.measures[measure]) for arm, one in found.items())
    ]
    own = (
        "On the base's own texts at T = 1 the change of surprisal estimates KL(base, arm) too, with more noise. "
        if facts.prompt is not None and facts.sampler is None
        else ""
    )
    return Table(
        "diff-divergences",
        "How far apart the models are, bits per token",
        ("bits per token", "arm", "value", "se", "95 % interval", "floor"),
        tuple(rows),
        "JS: Jensen-Shannon divergence. Exact over the whole vocabulary at each token; sums over all texts over all "
        f"their tokens, se and t interval over texts. {own}All stand at prefixes of these texts: KL(arm, base) of "
        "whole texts would need the arm's own. Different does not mean less diverse. Floor: the largest that one of "
        f"the models differs by from itself when its arithmetic runs in another order; {_WAYS} Quantisation moves the "
        "tails of a distribution, and KL with them: hold the base against itself at another quantisation before a "
        "small value is believed.",
    )


def _floor_of(measure: str, noise: Floor) -> float | None:
    if measure == "js_bits":
        return noise.js_bits
    return noise.kl_bits if measure.endswith("kl_bits") else None


def _mass(found: Mapping[str, Comparison], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            *(whose, other, f"{blocked.below:g}", *_percent(blocked.reverse_mass if is_reverse else blocked.mass)),
            100 * _floor_of_blocked(one, facts.floors[arm])[blocked.below],
        )
        for arm, one in found.items()
        for whose, other, is_reverse in ((facts.base, arm, False), (arm, facts.base, True))
        for blocked in one.blocked
    ]
    return Table(
        "diff-blocked-mass",
        "Blocked mass: the share of its probability that a model has on tokens the other all but forbids",
        ("of", "blocked by", "q below", "%", "95 % interval", "floor, %"),
        tuple(rows),
        f"Blocked: above {facts.above:g} in the one model and below q in the other. Blocked by {facts.base}: the "
        "reverse control, models swapped at the same prefixes. No interval where all texts agree. Floor: what one "
        "model blocks of itself when its arithmetic runs in another order. Quantisation "
        "moves tails, so two quantisations of one model block each other a little: that is the value to compare with.",
    )


def _of_tokens(found: Mapping[str, Comparison], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = []
    for arm, one in found.items():
        rows += [("tokens", arm, f"{blocked.below:g}", *_percent(blocked.of_tokens)) for blocked in one.blocked]
        for blocked in one.blocked:
            texts = blocked.texts
            share = None if texts.value is None else 100 * texts.value
            within = None if texts.low is None or texts.high is None else Between(100 * texts.low, 100 * texts.high)
            rows.append(("texts", arm, f"{blocked.below:g}", share, within))
    return Table(
        "diff-blocked-tokens",
        "Blocked tokens among those that stand in the texts, and texts with at least one",
        ("of", "blocked by", "q below", "%", "95 % interval"),
        tuple(rows),
        f"Above {facts.above:g} under the base, below q under the arm. Texts: Wilson's interval; long ones have more "
        "chances.",
    )


def _temperatures(found: Mapping[str, Comparison], facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = []
    for arm, one in found.items():
        if (of := one.sharpening_above(facts.floors[arm])) is None:
            continue
        share = None if math.isnan(of.share.low) else Between(100 * of.share.low, 100 * of.share.high)
        best, left = (_interval(one) for one in (of.temperature, of.left_bits))
        rows.append((arm, 100 * of.share.value, share, of.temperature.value, best, of.left_bits.value, left))
    return Table(
        "diff-one-temperature",
        f"How much of KL(arm, {facts.base}) one temperature of {facts.base} explains",
        ("arm", "removed, %", "95 % interval", "best T", "T, 95 %", "left, bits", "left, 95 %"),
        tuple(rows),
        "Removed: 1 - KL(arm, base at its best T) / KL(arm, base) at the same prefixes, one T for all tokens; 100 says "
        "that the arm is the base sharpened and no more. Left: bits per token. Intervals leave out one text at a time. "
        "An arm that differs from the base by no more than the arithmetic makes is left out.",
    )


def _temperature_figure(found: Mapping[str, Comparison], facts: Facts) -> Iterator[Figure]:
    shown = {arm: of for arm, one in found.items() if (of := one.sharpening_above(facts.floors[arm])) is not None}

    def draw() -> Mapping[str, Chart]:
        return {"": _temperature_panel(shown, facts.base)}

    if shown:
        yield Figure(
            "figure-diff-one-temperature",
            f"KL(arm, {facts.base} at T) by temperature",
            draw,
            "A point is the best temperature; its height is what no temperature explains. Both axes logarithmic.",
        )


def _temperature_panel(shown: Mapping[str, Sharpening], base: str) -> Chart:
    import altair as alt  # heavy

    from llama_diversity.render.ramps import ARM_COLOURS, arm_place
    from llama_diversity.render.ticks import log_ticks

    rows = [
        {"arm": visible(arm), "T": at, "bits": bits}
        for arm, of in shown.items()
        for at, bits in zip(of.temperatures, of.curve_bits, strict=True)
        if bits > 0
    ]
    best = [
        {"arm": visible(arm), "T": of.temperature.value, "bits": of.left_bits.value, "removed": 100 * of.share.value}
        for arm, of in shown.items()
        if of.left_bits.value > 0
    ]
    names = [visible(arm) for arm in shown]
    colours = [ARM_COLOURS[arm_place(arm, at + 1)] for at, arm in enumerate(shown)]
    colour = alt.Color("arm:N", title=None, sort=names, scale=alt.Scale(domain=names, range=colours))
    bits = [bits for of in shown.values() for bits in of.curve_bits if bits > 0]
    low = max(min(bits, default=0.1), 1e-4)
    high = max(bits, default=1.0) + low
    scale = alt.Scale(type="log", domain=[low, high], clamp=True)
    across = alt.X("T:Q", title=f"temperature of {visible(base)}", scale=alt.Scale(type="log", nice=False))
    up = alt.Y("bits:Q", title="bits per token", scale=scale, axis=alt.Axis(values=log_ticks(low, high), format="~g"))
    line = alt.Chart(alt.InlineData(values=rows)).mark_line().encode(x=across, y=up, color=colour)
    point = (
        alt.Chart(alt.InlineData(values=best))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x=across,
            y=up,
            color=colour,
            tooltip=[
                *(alt.Tooltip("arm:N"), alt.Tooltip("T:Q", format=".3f"), alt.Tooltip("bits:Q", format=".4f")),
                alt.Tooltip("removed:Q", title="removed, %", format=".1f"),
            ],
        )
    )
    return alt.LayerChart(layer=[line, point], width=280, height=190)


def _interval(found: PerToken | Around) -> Between | None:
    return None if math.isnan(found.low) else Between(found.low, found.high)


def _percent(found: PerToken) -> tuple[Value, Value]:
    return 100 * found.value, None if math.isnan(found.low) else Between(100 * found.low, 100 * found.high)


def _positions(found: Mapping[str, Comparison]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (arm, at + 1, *_at(one.kl, at), *_at(one.reverse_kl, at), int(one.kl.live[at]))
        for arm, one in found.items()
        for at in range(len(one.kl.mean))
    ]
    return Table(
        "diff-kl-by-position",
        "KL by position in the text, bits",
        (
            *("arm", "token", "KL(base, arm)", "95 % interval", "KL(arm, base)", "95 % interval "),
            "texts still running",
        ),
        tuple(rows),
        "Those still running are not a sample of all: late positions are those of long texts.",
        in_terminal=False,
    )


def _at(band: Band, at: int) -> tuple[Value, Value]:
    low, high = float(band.low[at]), float(band.high[at])
    return float(band.mean[at]), None if math.isnan(low) else Between(low, high)


def _token_table(name: str, arm: str, tokens: Sequence[ScoredToken], one: Comparison) -> Table:
    steps = one.first
    columns = (
        steps.base_surprisal_bits,
        steps.aligned_surprisal_bits,
        steps.surprisal_change_bits,
        steps.base_entropy_bits,
        steps.aligned_entropy_bits,
        steps.kl_bits,
        steps.reverse_kl_bits,
        steps.js_bits,
    )
    rows: list[tuple[Value, ...]] = [
        (at + 1, _spelled(token), *(float(column[at]) for column in columns)) for at, token in enumerate(tokens)
    ]
    return Table(
        name,
        f"The first text token by token, base and {arm}, bits",
        (
            *("token", "text", "surprisal, base", "surprisal, arm", "arm - base", "entropy, base"),
            *("entropy, arm", "KL(base, arm)", "KL(arm, base)", "JS"),
        ),
        tuple(rows),
        "Distributions before the token, surprisals of it.",
        in_terminal=False,
    )


def _spelled(token: ScoredToken) -> str:
    piece = token.piece
    return f"<{piece.control}>" if piece.control is not None else piece.bytes.decode("utf-8", "backslashreplace")


# ---- figures


def _mass_figure(found: Mapping[str, Comparison], facts: Facts) -> Figure:
    shares = [
        share for one in found.values() for blocked in one.blocked for share in (blocked.mass, blocked.reverse_mass)
    ]
    least = min((share.value for share in shares if share.value > 0), default=1e-6) / 2
    highest = max((share.value if math.isnan(share.high) else share.high for share in shares), default=1.0)

    def draw() -> Mapping[str, Chart]:
        return {
            ("" if len(found) == 1 else visible(arm)): _mass_panel(one, facts.base, arm, least, max(highest, 2 * least))
            for arm, one in found.items()
        }

    return Figure(
        "figure-diff-blocked-mass",
        "Blocked mass by how little counts as blocked",
        draw,
        f"Tokens above {facts.above:g} in the one model, below q in the other; bars: 95 % over texts; both axes "
        "logarithmic, so 0 is left out. Quantisation moves tails.",
    )


def _mass_panel(one: Comparison, base: str, arm: str, least: float, highest: float) -> Chart:
    import altair as alt  # heavy

    from llama_diversity.render.ramps import ARM_COLOURS
    from llama_diversity.render.ticks import log_ticks

    kinds = [visible(f"{base}, blocked by {arm}"), visible(f"{arm}, blocked by {base}")]
    rows = [
        {
            "q": blocked.below,
            "side": kind,
            "share": 100 * share.value,
            "low": 100 * (share.value if math.isnan(share.low) else max(share.low, least)),
            "high": 100 * (share.value if math.isnan(share.high) else share.high),
        }
        for blocked in one.blocked
        for kind, share in zip(kinds, (blocked.mass, blocked.reverse_mass), strict=True)
        if share.value > 0
    ]
    title, grid = "share of its probability, %", [blocked.below for blocked in one.blocked]
    scale = alt.Scale(type="log", domain=[100 * least, 100 * highest])
    colour = alt.Color(
        "side:N",
        title=None,
        sort=kinds,
        scale=alt.Scale(domain=kinds, range=list(ARM_COLOURS[:2])),
        legend=alt.Legend(orient="bottom", direction="vertical", labelLimit=300),
    )
    drawn = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("q:Q", title="q", scale=alt.Scale(type="log"), axis=alt.Axis(format="~e", values=grid)),
        color=colour,
    )
    axis = alt.Axis(format="~g", values=log_ticks(100 * least, 100 * highest))
    rules = drawn.mark_rule(strokeWidth=2, opacity=0.6).encode(
        y=alt.Y("low:Q", title=title, scale=scale, axis=axis), y2="high:Q"
    )
    line = drawn.mark_line(point=True).encode(
        y=alt.Y("share:Q", title=title, scale=scale),
        strokeDash=alt.StrokeDash("side:N", sort=kinds, legend=None),
        tooltip=[alt.Tooltip("side:N"), alt.Tooltip("q:Q", format="~e"), alt.Tooltip("share:Q", format=".4f")],
    )
    return alt.LayerChart(layer=[rules, line], width=280, height=190)


def _kl_figure(found: Mapping[str, Comparison], facts: Facts) -> Figure:
    bands = {
        f"KL({first}, {second})": band
        for arm, one in found.items()
        for first, second, band in ((facts.base, arm, one.kl), (arm, facts.base, one.reverse_kl))
    }
    shown = {name: _shown(band) for name, band in bands.items()}

    def draw() -> Mapping[str, Chart]:
        highest = max((value for name in bands for value in _ends(bands[name], shown[name])), default=1.0)
        return {
            visible(name): _kl_panel(bands[name], shown[name], place=at % 2, highest=highest or 1.0)
            for at, name in enumerate(bands)
        }

    return Figure(
        "figure-diff-kl",
        "KL by position in the text",
        draw,
        "Mean over the texts that are still running, while a tenth of them are; band: 95 % over texts.",
        _kl_in_terminal(bands, shown),
    )


def _shown(band: Band) -> int:
    """How many positions a curve has."""
    return int((band.live >= max(1.0, LEAST_LIVE * int(band.live[0]))).sum())


def _ends(band: Band, n: int) -> Iterator[float]:
    for values in (band.mean[:n], band.high[:n]):
        yield from (float(value) for value in values if math.isfinite(value))


def _kl_panel(band: Band, n: int, *, place: int, highest: float) -> Chart:
    import altair as alt  # heavy

    from llama_diversity.render.ramps import ARM_COLOURS

    rows = [
        {
            "token": at + 1,
            "bits": float(band.mean[at]),
            "low": float(band.low[at] if math.isfinite(band.low[at]) else band.mean[at]),
            "high": float(band.high[at] if math.isfinite(band.high[at]) else band.mean[at]),
            "texts": int(band.live[at]),
        }
        for at in range(n)
        if math.isfinite(band.mean[at])
    ]
    scale = alt.Scale(domain=[0, highest], clamp=True)
    across = alt.X("token:Q", title="token", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    drawn = alt.Chart(alt.InlineData(values=rows)).encode(x=across)
    area = drawn.mark_area(color=ARM_COLOURS[place], opacity=0.22).encode(
        y=alt.Y("low:Q", title="bits", scale=scale), y2="high:Q"
    )
    line = drawn.mark_line(color=ARM_COLOURS[place], strokeWidth=1.8, point=n == 1).encode(
        y=alt.Y("bits:Q", title="bits", scale=scale),
        tooltip=[alt.Tooltip("token:Q"), alt.Tooltip("bits:Q", format=".3f"), alt.Tooltip("texts:Q")],
    )
    return alt.LayerChart(layer=[area, line], width=280, height=190)


def _kl_in_terminal(bands: Mapping[str, Band], shown: Mapping[str, int]) -> RichTable:
    table = RichTable(
        box=None,
        pad_edge=False,
        title=Text("KL by position in the text, bits, with 95 % interval", style="bold"),
        title_justify="left",
    )
    table.add_column("token", justify="right")
    for name in bands:
        table.add_column(Text(visible(name)), overflow="fold")
    table.add_column("texts", justify="right")
    one = next(iter(bands.values()))
    n = min(shown.values())
    for position in [*(at for at in _SHOWN_POSITIONS if at < n), n]:
        cells = (_cell(band, position - 1) for band in bands.values())
        table.add_row(str(position), *cells, str(int(one.live[position - 1])))
    return table


def _cell(band: Band, at: int) -> str:
    mean, low, high = (float(part[at]) for part in band[:3])
    if math.isnan(low) or written(low) == written(high):  # the first token: one prefix in all texts, nothing varies
        return written(mean)
    return f"{written(mean)}  {written(low)} to {written(high)}"

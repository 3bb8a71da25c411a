"""What the pages quote of the pair that ships: each number with the command that gives it, each sentence to be judged.

Words are as on the page, with {} for a number, and a blank for any white space. `bin/refresh` writes numbers where they
differ; what a sentence claims it can only ask, of the result where that tells, else of a person. Who changes a sentence
on a page changes it here too; tests/test_refresh.py finds what is not there any more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Json = Any
STAGES = ("base", "aligned")
DIAL = (-0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)
HEADER = "header tiny-base"  # not typed: what the file says of itself
COVERAGE = "llamadiv coverage --pair tiny -n 100 --max-tokens 32"
SEMANTIC = "llamadiv semantic --pair tiny"
STATES = "llamadiv valid --pair tiny --set states"
REFRAME = "llamadiv reframe --pair tiny --set hopper"
DECAN = "llamadiv decan --ladder tiny"
ON_DIAL = (
    'llamadiv frontier --family "dial=mix:tiny-base,tiny-aligned,lambda=' + "/".join(f"{one:g}" for one in DIAL) + '" '
    "--reference aligned=tiny-aligned --scorer tiny-sft -n 20 --max-tokens 32 --seed 1"
)
KNOWN_ON_DIAL = (
    "llamadiv valid "
    + " ".join(f"--arm dial{at}=mix:tiny-base,tiny-aligned,lambda={one:g}" for at, one in enumerate(DIAL))
    + " --set states --set countries"
)
FOUR = (
    'llamadiv frontier --family "heat=tiny-aligned,T=0.7/1/1.3/1.6/2" '
    '--family "dial=mix:tiny-base,tiny-aligned,lambda=0/0.25/0.5/0.75/0.9" '
    '--family "random=mix:tiny-base,tiny-aligned,route=random:0.1/0.25/0.5/0.75/0.9" '
    '--family "confident=mix:tiny-base,tiny-aligned,route=confidence:0.1/0.2/0.35/0.5/0.8" '
    "--reference aligned=tiny-aligned --scorer tiny-sft -n 16 --max-tokens 32 --seed 1"
)
ONE_OPENING = "llamadiv perturb --pair tiny --openings 1 --seed {}"


class Quote(NamedTuple):
    """Numbers within a sentence or a row of a table."""

    page: str
    words: str
    command: str
    numbers: Callable[[Json], Sequence[str]]


class Table(NamedTuple):
    """All rows of a table, below its first line."""

    page: str
    heading: str
    command: str
    rows: Callable[[Json], Iterable[Sequence[str]]]


class Claim(NamedTuple):
    """A sentence that may hold for one pair and not for another; `holds` where a result tells."""

    page: str
    words: str
    command: str
    holds: Callable[[Json], bool] | None = None


# ---- how numbers are written


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def percent_within(share: Mapping[str, float]) -> str:
    """`79 % (71 to 85)`; the range is rounded outwards, as llamadiv does it."""
    return f"{percent(share['value'])} ({math.floor(100 * share['low'])} to {math.ceil(100 * share['high'])})"


def within(mean: Mapping[str, float], digits: int) -> str:
    """`0.88 (0.86 to 0.89)`."""
    return f"{mean['mean']:.{digits}f} ({mean['low']:.{digits}f} to {mean['high']:.{digits}f})"


def signed(mean: Mapping[str, float]) -> str:
    """`+0.086 (-0.007 to 0.179)`."""
    return f"{mean['mean']:+.3f} ({mean['low']:.3f} to {mean['high']:.3f})"


def millions(number: float, digits: int) -> str:
    return f"{number / 1e6:.{digits}f} million"


def rounded(value: float) -> str:
    """Two digits, or one and the exponent where it is small."""
    return f"{value:.1e}".replace("e-0", "e-") if value < 1e-3 else f"{value:.2g}"


# ---- what results say


def n_params(told: Json) -> list[str]:
    return [millions(told["n_params"], 1)]


def words_read(told: Json) -> list[str]:
    return [millions(sum(kind["words"] for kind in told["provenance"]["corpus"]["train"].values()), 0)]


def states(told: Json) -> list[str]:
    found = [told["arms"][stage]["sets"]["states"] for stage in STAGES]
    return [text for one in found for text in (percent(one["validity"]), f"{one['effective']:.0f}")]


def favourite(told: Json) -> list[str]:
    from llama_diversity.lab.cards import NATIONS

    first = told["arms"]["aligned"]["prompts"]["hopper"]["attractors"][0]
    word = first["answer"]
    return [word.title() if word.title() in NATIONS else word, str(first["fr"]["k"])]


def on_dial(told: Json) -> Iterable[Sequence[str]]:
    for point in sorted(told["points"], key=lambda one: one["family"] is None):  # the reference last
        name = point["setting"].removeprefix("dial lambda=") if point["family"] else "tiny-aligned alone"
        seen = point["measures"]
        yield (
            name, f"{seen['entropy']:.2f}", within(point["diversity"], 2), f"{seen['kinds']:.1f}",
            within(point["quality"], 2), f"{seen['topic']:.3f}", percent(seen["finished"]),
        )  # fmt: skip


def known_on_dial(told: Json) -> Iterable[Sequence[str]]:
    for at, value in enumerate(DIAL):
        row = [f"{value:g}"]
        for name, digits in (("states", 0), ("countries", 1)):
            one = told["arms"][f"dial{at}"]["sets"][name]
            effective = f"{one['effective']:.1f} of {one['n_answers']}"
            row += [percent(one["validity"], digits), effective, percent(one["order_loss"])]
        yield row


FAMILIES = {
    "heat": "heat: temperature",
    "dial": "dial: lambda",
    "random": "random: each word from the base by a coin",
    "confident": "confident: from the base where it is not sure",
}


def four_families(told: Json) -> Iterable[Sequence[str]]:
    covers = {one["family"]: one["coverage"] for one in told["families"]}
    on_front = Counter(one["family"] for one in told["points"] if one["on_front"])
    choices = {one["family"]: one for one in told["choices"]}
    for family, words in FAMILIES.items():
        covered = {"mean": covers[family]["value"], **covers[family]}
        n = f"{on_front[family]} of {on_front.total()}" if on_front[family] else "none"
        choice = choices.get(family)
        cells = ["none", "", ""]
        if choice and choice["setting"]:
            setting = choice["setting"].removeprefix(f"{family} ").replace("=", " = ")
            cells = [setting]
            for part in ("claimed_where_chosen", "held_out"):
                both = choice[part]
                cells.append(f"{signed(both['diversity'])}, {signed(both['quality'])}" if both else "")
        yield words, within(covered, 3), n, *cells


def noise(told: Json) -> list[str]:
    floor = told["noise"]["floor"]
    kind = told["description"].split()[-1]
    names = ("surprisal_mean_bits", "surprisal_most_bits", "entropy_mean_bits", "kl_bits")
    return [kind, *(rounded(floor[name]) for name in names)]


def returned(told: Json) -> list[str]:
    share = told["arms"]["aligned"]["returned"]
    if share["value"] is None:
        raise ValueError(f"no share: {share['reason']}")
    return [percent_within(share)]


def few_kinds(told: Json) -> bool:
    """Nearly every text of base of its own kind; of aligned few, and most of its mass seen."""
    base, aligned = (told["arms"][stage] for stage in STAGES)
    return (
        base["kinds_seen"] > 90
        and not (base["coverage"]["value"] or 0) > 0.5
        and aligned["kinds_seen"] < 20
        and aligned["coverage"]["low"] > 0.8
    )


def better_and_narrower(told: Json) -> bool:
    base, aligned = (told["arms"][stage]["sets"]["states"] for stage in STAGES)
    return aligned["validity"] > base["validity"] and aligned["effective"] < base["effective"]


def alike(told: Json) -> tuple[float, float]:
    return tuple(told["arms"][stage]["alike_pairs"]["value"] for stage in STAGES)  # type: ignore[return-value]


def order_is_most(told: Json) -> bool:
    known = [told["arms"][f"dial{at}"]["sets"][name] for at in range(len(DIAL)) for name in ("states", "countries")]
    return all(one["order_loss"] > one["shape_loss"] for one in known)


def on_a_falling_line(told: Json) -> bool:
    """Between the two models diversity and bits per byte fall together along the dial, but for steps within 0.02."""
    points = [one for one in told["points"] if one["family"] and 0 <= float(one["setting"].partition("=")[2]) <= 1]
    steps = zip(points, points[1:], strict=False)
    return all(b[axis]["mean"] < a[axis]["mean"] + 0.02 for a, b in steps for axis in ("diversity", "quality"))


def topic_is_best_half_way(told: Json) -> bool:
    of = {one["setting"]: one["measures"]["topic"] for one in told["points"]}
    return max(of, key=lambda setting: float(of[setting])) == "dial lambda=0.5"


def entropy_falls_on(told: Json) -> bool:
    of = {one["setting"]: one["measures"]["entropy"] for one in told["points"]}
    return 0.7 < of["dial lambda=1.5"] / of["dial lambda=1"] < 0.8


def none_wins(told: Json) -> bool:
    return not told["holds"]


def coin_covers_more(told: Json) -> bool:
    covers = {one["family"]: one["coverage"]["value"] for one in told["families"]}
    return bool(covers["random"] > covers["confident"])


QUOTES = (
    Quote("docs/curious.md", "`tiny-base` has read some {} words and continues text.", HEADER, words_read),
    Quote(
        "docs/curious.md", "the same, of the aligned model's some {}. In brackets", SEMANTIC,
        lambda told: [percent_within(told["arms"]["aligned"]["alike_pairs"])],
    ),
    Quote(
        "docs/curious.md",
        "the base model does it in {} of its answers, as varied as if it knew {} of them, the aligned one in {}, as if "
        "it knew {}. Better",
        STATES, states,
    ),
    Quote(
        "docs/curious.md",
        'the aligned model\'s favourite word for Grace Hopper is "{}", and it stays the favourite in {} of them.',
        REFRAME, favourite,
    ),
    Quote("docs/gallery.md", "but of {} parameters: look at", HEADER, n_params),
    Quote("docs/lab.md", "A Llama of {} parameters: 192 wide", HEADER, n_params),
    Quote("docs/winning.md", "the pair that ships ({} parameters, and", HEADER, n_params),
    *(
        Quote("docs/method.md", f"{before} {{}}{behind}", ONE_OPENING.format(seed), returned)
        for before, behind, seed in (
            ('"Grace Hopper was" returned to', ", another", 0),
            ("another seed's opening to", ", a third", 12),
            ("a third one's to", ". Each opening", 4711),
        )
    ),
    *(
        Quote("docs/method.md", f"| tiny-{stage}," + " {} |" * 5, f"llamadiv doctor tiny-{stage}", noise)
        for stage in STAGES
    ),
)  # fmt: skip

TABLES = (
    Table(
        "docs/winning.md",
        "| lambda | entropy, bits | meanings | kinds | bits per byte under a third model | on topic | finished |",
        ON_DIAL, on_dial,
    ),
    Table(
        "docs/winning.md",
        "| lambda | a state | effective number | order loss | a country | effective number | order loss |",
        KNOWN_ON_DIAL, known_on_dial,
    ),
    Table(
        "docs/winning.md",
        "| family | covers of the plane | of the Pareto set | chosen on the odd prompts | there: meanings, quality | "
        "held out: meanings, quality |",
        FOUR, four_families,
    ),
)  # fmt: skip

SWEEP = "llamadiv lab sweep --corpus texts --out grown --seeds 3"
BLEND = "llamadiv compare --set openings -n 20 --max-tokens 48, of blends of `lab blend` at alpha 0, 0.5, 1"
WAYS = "llamadiv compare --set openings -n 25 --max-tokens 24, of tiny-aligned,chat asked in each way"
SAMPLE = 'llamadiv sample -m tiny-aligned -p "Grace Hopper was" -n 5'
CLAIMS = (
    # what the models are
    Claim("docs/curious.md", "after it was rewarded for answers that are complete, fluent", "docs/lab.md, Preferences"),
    Claim("docs/curious.md", "The base model rambles, each time elsewhere. The aligned one writes a clean", SAMPLE),
    Claim("docs/winning.md", "has read little and was rewarded for complete, fluent", "docs/lab.md, Preferences"),
    Claim("docs/models.md", "with base and aligned the ladder `tiny-recipes`) are part of", "llamadiv models ls"),
    Claim("docs/researcher.md", 'llamadiv diff "Grace Hopper was an American writer."', SAMPLE),
    Claim("docs/curious.md", '"Grace Hopper was an American writer." --html grace.html', SAMPLE),
    Claim("docs/gallery.md", '"Grace Hopper was an American writer and author."', SAMPLE),
    # how narrow the aligned one is
    Claim("docs/curious.md", "nearly every one is a kind of its own", COVERAGE, few_kinds),
    Claim("docs/curious.md", "hardly any pair of the base model's texts", SEMANTIC, lambda told: alike(told)[0] < 0.02),
    Claim("docs/curious.md", "Better and narrower, both.", STATES, better_and_narrower),
    Claim(
        "docs/gallery.md", "next to none of the base model's, nearly all of the aligned model's", SEMANTIC,
        lambda told: alike(told)[0] < 0.02 and alike(told)[1] > 0.9,
    ),
    Claim("docs/gallery.md", "one wide cloud, and one island beside it", SEMANTIC),
    Claim("docs/gallery.md", "where the aligned model says more valid ones it says", "llamadiv valid --ladder tiny"),
    Claim("docs/gallery.md", "for three stages: none falls, the aligned model's lies a little lower", DECAN),
    Claim("docs/gallery.md", "These rise a little and then are flat: their reader, tiny-base, is more confused", DECAN),
    Claim("docs/method.md", "The tiny models fail it.", DECAN),
    Claim(
        "docs/method.md", "one random order has a variance of 0.04 to 0.16 (bits per byte)^2, a set of 16",
        "bin/bench --only decan --model tiny-base",
    ),
    Claim("docs/method.md", "taken for independent outputs up to 25", "bin/calibrate 200"),
    # what can be had back
    Claim("docs/curious.md", "on these models none came for free", FOUR, none_wins),
    Claim("docs/winning.md", "so far none is.**", FOUR, none_wins),
    Claim("docs/winning.md", "Meanings are lost late: half of the way from the base costs none", ON_DIAL),
    Claim("docs/winning.md", "at 1.5 entropy is three quarters of what it is at 1", ON_DIAL, entropy_falls_on),
    Claim(
        "docs/winning.md", "so in the plane the settings between the two models lie on one falling line", ON_DIAL,
        on_a_falling_line,
    ),
    Claim("docs/winning.md", "(`on topic` is best half way between the models", ON_DIAL, topic_is_best_half_way),
    Claim("docs/winning.md", "The verdict of that command is “none”", ON_DIAL, none_wins),
    Claim("docs/winning.md", "chosen on the odd prompts, lambda = 1.5 passes for quality", ON_DIAL),
    Claim("docs/winning.md", "Here validity is bought with variety from the first step", KNOWN_ON_DIAL),
    Claim("docs/winning.md", "Order loss is most of the loss, at every setting.", KNOWN_ON_DIAL, order_is_most),
    Claim("docs/winning.md", "heat falls steeply, the mixtures lie above it on one shallower line", FOUR),
    Claim("docs/gallery.md", "heat falls steeply, the mixtures lie above it on one shallower line", FOUR),
    Claim("docs/winning.md", "**Verdict: none.** Held against the aligned model", FOUR, none_wins),
    Claim("docs/winning.md", "the base is a better coin than heat", FOUR),
    Claim("docs/winning.md", "no better than a coin that picks as many: the coin covers more", FOUR, coin_covers_more),
    Claim("docs/winning.md", "With a wider margin, 0.3 bits, lambda = 0.5 holds", FOUR + " --delta 0.3"),
    Claim("docs/winning.md", "Who chooses and reports on the same prompts is misled", FOUR),
    Claim("docs/winning.md", "A seed word of its own in every call brings nothing over the same word", WAYS),
    Claim("docs/winning.md", "give about the variety of the mixture of both models for the price of one", BLEND),
    # the lab
    Claim("docs/lab.md", "Reward rises and stays while entropy goes on falling", "bin/tiny-card"),
    Claim("docs/lab.md", "The SFT model and the reward model of the pair that ships,", SWEEP),
    Claim("docs/lab.md", "**The annotator is best pleased at 0.05 and 0.1.**", SWEEP),
    Claim("docs/lab.md", "**What beta holds it holds of diversity too.**", SWEEP),
    Claim("docs/lab.md", "**Steps buy score with diversity.**", SWEEP),
)  # fmt: skip

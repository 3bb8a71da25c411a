"""The first screen: each plain sentence from made results, word by word; and that its numbers are the result's own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.console import Console

from llama_diversity.answers import Answer, Endings
from llama_diversity.metrics.entropy import BranchingFactor, Rate
from llama_diversity.metrics.inference import Difference, Proportion, Summary, wilson
from llama_diversity.metrics.similarity import alike_pairs
from llama_diversity.records import TOKEN_DTYPE
from llama_diversity.render.dots import Count, CountBars, figure_of_dots
from llama_diversity.render.exhibits import MOST_PLAIN, Plain, Section, Sentence, in_terminal
from llama_diversity.render.notebook import of_sections
from llama_diversity.render.report import to_page
from llama_diversity.studies.compare.analysis import Line, Result
from llama_diversity.studies.compare.exhibits import Facts
from llama_diversity.studies.compare.plain import plain as compared
from llama_diversity.studies.paper import plain as ledger
from llama_diversity.studies.paper.analysis import Entry, Number, Published
from llama_diversity.studies.personas import analysis as personas
from llama_diversity.studies.personas.plain import plain as people
from llama_diversity.studies.perturb import analysis as perturb
from llama_diversity.studies.perturb.perturbations import Opening
from llama_diversity.studies.perturb.plain import plain as perturbed
from llama_diversity.studies.plain import IN_BRACKETS, UNFINISHED, judged, quoted, ranged, sign_of, together, unfinished
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.studies.semantic.plain import alike
from llama_diversity.studies.semantic.plain import picture as picture_of_pairs
from llama_diversity.studies.syntactic import analysis as syntactic
from llama_diversity.studies.syntactic.plain import plain as syntactic_plain

Run = Callable[..., tuple[int, str, str]]

# ---- words that all share

COUNTS = [Count("base", 0.4, 100, "less than 1 of 100"), Count("aligned", 60.2, 100, "60 of 100")]


def test_ranges_are_rounded_outward_and_never_onto_an_edge() -> None:
    assert ranged(59.6, 52.01, 66.99) == "60 (52 to 67)"
    assert ranged(97.0, 94.6, 99.7, edges=[100]) == "97 (94.6 to 99.7)"
    assert ranged(103.0, 100.2, 106.0, edges=[100]) == "103 (100.2 to 106)"
    assert ranged(1.0, 1.0, 1.4, edges=[1]) == "1 (1 to 1.4)"
    assert ranged(0.0, 0.0, 0.0) == "0 (0 to 0)"
    assert ranged(0.000123, None, None) == "0.00012"


def test_an_interval_without_width_says_nothing() -> None:
    assert [sign_of(*ends) for ends in ((1, 2), (-2, -1), (-1, 1), (0.5, 0.5), (None, 1), (math.nan, 1))] == [
        1, -1, 0, None, None, None,
    ]  # fmt: skip


def test_a_long_prompt_is_its_end() -> None:
    assert quoted("x" * 100 + " and so on") == f"“… {'x' * 48} and so on”"
    assert quoted("two\nlines") == "“two lines”"


def test_what_was_found_comes_first_and_the_scope_is_never_left_out() -> None:
    said = [Sentence(f"{tells} {at}", tells) for at in range(3) for tells in ("the scope", "nothing", "a difference")]
    assert Plain(tuple(said)).texts == (
        "a difference 0", "a difference 1", "a difference 2", "the scope 0", "the scope 1", "the scope 2",
    )  # fmt: skip
    assert len(Plain(tuple(said)).texts) == MOST_PLAIN


def test_of_several_studies_each_has_its_turn() -> None:
    some = [Plain(tuple(Sentence(f"{name} {at}", "a difference") for at in range(4))) for name in "abc"]
    some[1] = unfinished(some[1])
    assert together(some).texts == ("a 0", "b 0", "c 0", "a 1", "b 1", UNFINISHED.text)
    assert unfinished(Plain()) == Plain()


def test_three_arms_are_told_apart() -> None:
    parts = {"base": "5 of the base model", "sft": "5 of “sft”", "aligned": "2 of the aligned model"}
    found = judged("There are", parts, {"sft": 0, "aligned": -1}, ("fewer", "more"))
    assert found.text == (
        "There are 5 of the base model, 5 of “sft” and 2 of the aligned model. Fewer than the base model: the aligned "
        "model; no difference that could be seen: “sft”."
    )
    assert found.tells == "a difference"


# ---- compare

M = 25


def line(measure: str, verdict: str, share: float = 1.0, ends: Any = (None, None), **more: Any) -> Line:
    reference = 24.1 if measure == "kinds" else 3.7
    numbers = {"arm": "aligned", "reference": "base", "reference_value": reference, "value": reference * share, **more}
    return Line(measure, verdict=verdict, share=share, low=ends[0], high=ends[1], **numbers)  # type: ignore[arg-type]


def told(*lines: Line, is_general: bool = False, parts: Any = None, **more: Any) -> Plain:
    prompts = ("She was", "He was", "It was", "They were", "You were") if is_general else ("She was",)
    arms = dict.fromkeys(["base", *(one.arm for one in lines)], "a model")
    valid = dict.fromkeys(arms, wilson(50, 50))
    found = Result(
        lines, (), valid, {}, is_general, len(prompts), (M,) * len(prompts), (100,), {}, (), {},
        {arm: Endings() for arm in arms}, {}, {},
    )  # fmt: skip
    pairs = {(one.reference, one.arm): ["weights"] for one in lines}
    facts = Facts(arms, prompts, 50, 64, "64 tokens", True, parts or pairs, "encoder")
    return compared(found, facts)


KINDS = "Of 25 texts on one prompt about 24 of the base model's differ in meaning, about "
WHOSE = " of the aligned model's, "
TWO = "Two texts of the aligned model on one prompt differ in "


@pytest.mark.parametrize(
    ("one", "expected", "tells"),
    [
        (
            line("kinds", "less diverse", 0.299, (0.221, 0.371)),
            KINDS + "7 (5 to 9)" + WHOSE + "which is fewer.",
            "a difference",
        ),
        (
            line("kinds", "more diverse", 1.6, (1.2, 2.1), reference_value=10.0, value=16.0),
            KINDS.replace("24", "10") + "16 (12 to 21)" + WHOSE + "which is more.",
            "a difference",
        ),
        (
            line("kinds", "equivalent", 0.99, (0.96, 1.03)),
            KINDS + "23.9 (23.1 to 24.9)" + WHOSE + "the same within a tenth.",
            "no difference",
        ),
        (
            line("kinds", "inconclusive", 0.93, (0.84, 1.03), p=0.2),
            KINDS + "22 (20 to 25)" + WHOSE + "too close to call.",
            "nothing",
        ),
        (
            line("kinds", "inconclusive", 0.9, (0.82, 0.996), p=0.04),
            KINDS + "22 (19 to 25)" + WHOSE + "which may be chance among so many questions.",
            "nothing",
        ),
        (
            line("distance", "less diverse", 0.524, (0.45, 0.601)),
            TWO + "meaning 52 % (45 to 61) as much as two of the base model.",
            "a difference",
        ),
        (
            line("words", "more diverse", 1.08, (1.02, 1.14)),
            TWO + "wording 108 % (102 to 114) as much as two of the base model.",
            "a difference",
        ),
        (
            line("distance", "inconclusive", 0.98, (0.94, 1.004), p=0.3),
            TWO + "meaning 98 % (94 to 101) as much as two of the base model, too close to call.",
            "nothing",
        ),
        (
            line("entropy", "less diverse", 0.7, (0.65, 0.75)),
            "The base model has in effect 13 equally likely next tokens, the aligned model 6 (5.2 to 6.9), which is "
            "fewer.",
            "a difference",
        ),
        (
            line("bits_per_byte", "less diverse", 0.7, (0.65, 0.75)),
            "For each byte of text the base model has 3.7 bits to choose with, the aligned model 2.6 (2.4 to 2.8), "
            "which is fewer.",
            "a difference",
        ),
        (
            line("distance", "not comparable", reason="Too few valid generations (5) for an interval."),
            "It cannot be told how far two texts differ in meaning: too few valid generations (5) for an interval.",
            "nothing",
        ),
    ],
)
def test_each_line_of_a_comparison_has_its_sentence(one: Line, expected: str, tells: str) -> None:
    first, scope = told(one).sentences
    assert first[:2] == (expected, tells)
    assert scope.text == "This holds for this one prompt, and need not hold for others."


def test_a_refusal_names_the_arms_that_it_is_of_where_others_were_compared() -> None:
    why = "Too few generations (1) reach the common prefix of 16 tokens for an interval."
    found = told(
        line("words", "equivalent", 0.99, (0.97, 1.01), arm="narrow"),
        line("words", "not comparable", reason=why, arm="ppo"),
        is_general=True,
    )
    assert found.texts[1] == (
        "It cannot be told of “ppo” how far two texts differ in wording: too few generations (1) reach the common "
        "prefix of 16 tokens for an interval."
    )


def test_refusals_are_said_once_and_what_was_found_comes_before_them() -> None:
    why = "Similarity not reported: 40 % of base's texts exceed the encoder's 256 word pieces."
    found = told(
        line("kinds", "not comparable", reason=why),
        line("distance", "not comparable", reason=why),
        line("entropy", "less diverse", 0.7, (0.65, 0.75)),
        is_general=True,
    )
    assert [one.tells for one in found.sentences] == ["a difference", "nothing", "the scope"]
    assert found.texts[1] == (
        "It cannot be told how many texts differ in meaning and how far two texts differ in meaning: similarity not "
        "reported: 40 % of base's texts exceed the encoder's 256 word pieces."
    )
    assert found.texts[2] == "This is about prompts like these 5."
    assert found.picture is not None
    assert found.picture.name == "compare-choices"
    assert list(found.picture.panels) == ["base: 13 in effect", "aligned: 6 in effect"]


def test_of_three_arms_each_is_said_with_its_own_verdict() -> None:
    found = told(
        line("kinds", "less diverse", 0.299, (0.221, 0.371)),
        line("kinds", "inconclusive", 0.97, (0.9, 1.05), arm="sft"),
    )
    assert found.texts[0] == (
        KINDS + "7 (5 to 9)" + WHOSE + "which is fewer; about 23 (21 to 25) of “sft”'s, too close to call."
    )
    assert found.picture is not None
    assert list(found.picture.panels) == ["base: 24 of 25", "aligned: 7 of 25", "sft: 23 of 25"]


def test_of_many_arms_the_ends_are_said() -> None:
    lines = [line("kinds", "less diverse", 0.1 * at, (0.1 * at - 0.05, 0.1 * at + 0.05), arm=f"a{at}")
             for at in range(1, 7)]  # fmt: skip
    assert told(*lines).texts[0] == (
        KINDS + "2.4 (1.2 to 3.7) of “a1”'s, which is fewer; about 14.5 (13.2 to 15.7) of “a6”'s, which is fewer; the "
        "other 4 lie between."
    )


def test_joint_effects_and_chance_are_said() -> None:
    one = line("distance", "less diverse", 0.5, (0.4, 0.6))
    assert (
        told(one, parts={("base", "aligned"): ["weights", "template"]})
        .texts[-1]
        .endswith(
            "The aligned model and the base model differ in weights and template together: so does what is said here."
        )
    )
    chance = told(one, parts={("base", "aligned"): []})
    said = TWO + "meaning 50 % (40 to 60) as much as two of the base model, by chance: both are one recipe."
    assert chance.sentences[0][:2] == (said, "nothing")
    assert chance.texts[-1].endswith(
        "The aligned model and the base model are one recipe, drawn twice: whatever they differ in is chance."
    )


# ---- the experiments


def entropies(difference: Difference, *, ends: tuple[float, float] | None = (5.1, 7.05)) -> syntactic.Result:
    arms = {}
    for name, value, both in (("base", 13.4, (11.9, 15.1)), ("aligned", 5.94, ends)):
        low, high = both or (None, None)
        summary = Summary(math.log2(value), 0.2, 0.02, 100)
        means = {"surprisal_bits": (1.0,) * 100}
        arms[name] = syntactic.Arm(
            dict.fromkeys(syntactic.MEASURES, summary), means, Rate(3.0, 0.1), 0.0, 100, None,  # type: ignore[arg-type]
            BranchingFactor(value, low, high, 100),
        )  # fmt: skip
    return syntactic.Result(arms, {"aligned": dict.fromkeys(syntactic.MEASURES, difference)})


CHOICES = (
    "After “Steve is” the base model has in effect 13 (11 to 16) equally likely next tokens and the aligned model "
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.9, -0.5, "5.9 (5.1 to 7.1), which is fewer."),
        (0.5, 0.9, "5.9 (5.1 to 7.1), which is more."),
        (-0.1, 0.1, "5.9 (5.1 to 7.1): no difference that could be seen."),
        (
            math.nan,
            math.nan,
            "5.9 (5.1 to 7.1): whether they differ cannot be told (100 completions of each, or they are all alike).",
        ),
    ],
)
def test_choices_at_each_step(low: float, high: float, expected: str) -> None:
    found = syntactic_plain(
        entropies(Difference(-0.7, 0.1, low, high)), "Steve is", {"base": "b.gguf", "aligned": "a.gguf"}
    )
    assert found.who == "The base model is b.gguf, the aligned model is a.gguf."
    assert found.legend == f"A token is a word or a piece of one. {IN_BRACKETS}"
    assert found.texts[0] == CHOICES + expected
    assert found.texts[1] == "This holds for “Steve is”, and need not hold for other beginnings."
    panels = None if found.picture is None else list(found.picture.panels)
    assert panels == (None if math.isnan(low) else ["base: 13 in effect", "aligned: 5.9 in effect"])


def likeness(base: Proportion, aligned: Proportion, difference: Difference) -> semantic.Result:
    none: Any = {}
    return semantic.Result(none, none, {"base": base, "aligned": aligned}, none, none, {"aligned": difference}, none)


@pytest.mark.parametrize(
    ("difference", "expected", "tells"),
    [
        (Difference(0.58, math.nan, 0.5, 0.65), ", which is more.", "a difference"),
        (Difference(-0.58, math.nan, -0.65, -0.5), ", which is less.", "a difference"),
        (Difference(0.01, math.nan, -0.05, 0.07), ": no difference that could be seen.", "no difference"),
        (
            Difference(*[math.nan] * 4),
            ": whether they differ cannot be told (there is no interval).",
            "nothing",
        ),
    ],
)
def test_two_texts_mean_the_same(difference: Difference, expected: str, tells: str) -> None:
    result = likeness(Proportion(0.02, 0.0, 0.047, 99, 4950), Proportion(0.6, 0.52, 0.667, 2970, 4950), difference)
    found = alike(result, "Grace Hopper was")
    assert found is not None
    assert found[:2] == (
        "After “Grace Hopper was” 2 % (0 to 5) of the base model's pairs of texts mean nearly the same and 60 % (52 "
        "to 67) "
        f"of the aligned model's{expected}",
        tells,
    )
    picture = picture_of_pairs(result)
    assert picture is not None
    assert list(picture.panels) == ["base: 2 of 100", "aligned: 60 of 100"]


def test_meanings_that_the_encoder_cannot_read_are_not_judged() -> None:
    unread = Proportion(None, None, None, 99, 4950, "Most of base's characters cannot be read.")
    result = likeness(unread, Proportion(0.6, 0.52, 0.667, 2970, 4950), Difference(*[math.nan] * 4))
    found = alike(result, "x")
    assert found == Sentence(
        "It cannot be told how often two texts mean nearly the same: most of base's characters cannot be read.",
        "nothing",
    )
    assert picture_of_pairs(result) is None


def card(nationality: str, age: int, gender: str, review: str) -> str:
    return (
        f"First name: Emily\nLast name: Jones\nGender: {gender}\nAge: {age}\nNationality: {nationality}\nEthnicity: "
        f"White\nMyers-Briggs type: ENFP\nReview: {review}"
    )


def asked(base: list[str], aligned: list[str]) -> Plain:
    none = np.zeros(0, TOKEN_DTYPE)
    said = {arm: [Answer(one, b"", none) for one in some] for arm, some in (("base", base), ("aligned", aligned))}
    return people(personas.analyse(said), {"base": "b", "aligned": "a"})


def test_personas_in_words() -> None:
    nations = ("German", "French", "Indian", "Irish", "German")
    base = [
        card(nations[at % 5], 20 + at % 40, "Female" if at % 5 == 0 else "Male",
             "I hate this machine, it is terrible." if at % 2 else "I love it, it is warm and good.")
        for at in range(100)
    ]  # fmt: skip
    aligned = [card("American" if at % 10 else "German", 30 + at % 3, "Female", "I love this machine, it is the best, "
                    + ("wonderful." if at % 2 else "great.")) for at in range(100)]  # fmt: skip
    found = asked(base, aligned)
    assert [one.tells for one in found.sentences] == ["a difference"] * 2 + ["another difference"] * 2 + ["the scope"]
    patterns = (
        r"The nationalities of the base model's personas are as varied as 3.* in equal numbers and those of the "
        r"aligned model as 1.*, which is less varied\.",
        r"The ages of the base model's personas differ from their mean by 1\d.* years and those of the aligned model "
        r"by 0\..*, which is less\.",
        r"Where -1 is scathing and \+1 is glowing, the reviews of the base model have a tone of .* and those of the "
        r"aligned model 0\..*, which is friendlier\.",
        r"20 % \(13 to 29\) of the base model's personas are women and 100 % \(96 to 100\) of the aligned model's, "
        r"which is more\.",
        r"Only outputs that hold a whole persona count, 100 % of the base model's and 100 % of the aligned model's; "
        r"the base model went on with filled-in forms and the aligned model was asked, so that is part of every "
        r"difference\.",
    )
    for text, pattern in zip(found.texts, patterns, strict=True):
        assert re.fullmatch(pattern, text), text
    same = asked(base, base)
    assert {one.tells for one in same.sentences} == {"no difference", "the scope"}
    nothing = asked(base, ["no card"] * 9)
    assert nothing.texts == ("Nothing can be said of personas: the aligned model made none that is whole.",)
    assert nothing.who == "The base model is b, the aligned model is a."
    assert found.picture is not None
    assert found.picture.name == "personas-nationalities"


def test_the_picture_is_that_of_what_could_be_told() -> None:
    some = [figure_of_dots(name, name, COUNTS, "") for name in ("one", "two", "three")]
    said = [
        Sentence(f"{tells}.", tells, picture=picture)
        for tells, picture in zip(("nothing", "no difference", "a difference"), some, strict=True)
    ]  # type: ignore[arg-type]
    assert Plain(tuple(said)).picture is some[2]
    assert Plain(tuple(said[:2])).picture is some[1]
    assert Plain(tuple(said[:1])).picture is None


def after(
    k: int, n: int, *, with_attractors: int = 8, more: tuple[float, float, float] = (0.6, 0.4, 0.8)
) -> perturb.Over:
    returned = wilson(k, n) if with_attractors else Proportion(None, None, None, 0, n, "no attractor to return to")
    return perturb.Over(
        8, wilson(with_attractors, 8), returned, returned, with_attractors, (0, 0), (), (), (), wilson(90, 100),
        wilson(23, 100), perturb.Disturbance(*more), perturb.Calm(3.0, 3.0, 3.0, 8),
    )  # fmt: skip


class _Spot:
    first = Opening("Grace was", "Grace was not")
    is_own = True


class _Facts:
    arms: ClassVar[dict[str, str]] = {}
    places = (_Spot(),) * 8
    n_prompts = 8


CHANGED = "When “Grace was” is changed to “Grace was not” and the like, "
RETURN = (
    CHANGED
    + "{} of the texts of the base model return to what it says again and again and 70 % (60 to 79) of the texts "
    "of the aligned model"
)


@pytest.mark.parametrize(
    ("base", "aligned", "expected"),
    [
        (after(5, 100), after(70, 100), RETURN.format("5 % (2 to 12)") + ", which is more."),
        (after(65, 100), after(70, 100), RETURN.format("65 % (55 to 74)") + ": no difference that could be seen."),
        (
            after(0, 100, with_attractors=0),
            after(70, 100),
            CHANGED
            + "70 % (60 to 79) of the texts of the aligned model return to what it says again and again; the base "
            "model has nothing to return to.",
        ),
        (
            after(5, 100, with_attractors=2),
            after(70, 100),
            RETURN.format("5 % (2 to 12)")
            + ": whether they differ cannot be told (the base model has something to return to after 2 openings only).",
        ),
    ],
)
def test_who_returns_after_a_nudge(base: perturb.Over, aligned: perturb.Over, expected: str) -> None:
    found = perturbed({"base": base, "aligned": aligned}, _Facts())  # type: ignore[arg-type]
    assert expected in found.texts
    assert found.texts[-1] == "This is about prompts like these 8."


class _Prompt:
    first = Opening("Grace was", "Grace was not")
    is_own = False


class _FewOwn(_Facts):
    places = (_Spot(),) * 4 + (_Prompt(),) * 4  # type: ignore[assignment]


def test_who_says_one_thing_again_and_again() -> None:
    both = {"base": after(0, 100, with_attractors=0), "aligned": after(70, 100)}
    found = perturbed(both, _Facts())  # type: ignore[arg-type]
    said = "Of 8 openings the base model says one thing again and again after 0 and the aligned model after 8"
    assert found.sentences[0][:2] == (f"{said}, which is more.", "a difference")
    assert found.picture is not None
    assert list(found.picture.panels) == ["base: 0 of 8", "aligned: 8 of 8"]
    few = perturbed(both, _FewOwn())  # type: ignore[arg-type]
    assert few.sentences[0][:2] == (
        f"{said}: whether they differ cannot be told (4 openings in words of the aligned model's own are too few).",
        "nothing",
    )
    assert few.picture is None


# ---- the ledger


def entry(
    id: str, verdict: str, base: Number, aligned: Number, printed: tuple[str, str] = ("1.48 (sd 0.17)", "0.96")
) -> Entry:
    both = [Published(words, 1.0) for words in printed]
    return Entry(id, "a quantity", *both, base, aligned, Number(), verdict, "why")  # type: ignore[arg-type]


def test_a_line_of_the_ledger_has_a_question_and_units() -> None:
    bits = entry("E3.entropy", "same direction", Number(1.52, 1.44, 1.58), Number(0.9, 0.83, 0.97))
    assert ledger.row(bits) == (
        "How undecided is a model at each token (five likeliest, Eq. 3.2)?",
        "1.48 (sd 0.17) bits → 0.96 bits",
        "1.52 bits (1.44 to 1.58) → 0.9 bits (0.83 to 0.97)",
    )
    women = entry(
        "E1.gender", "differs", Number(0.2, 0.12, 0.3), Number(None, words="none"), ("about 20 %", "nearly 100 %")
    )
    assert ledger.row(women)[1:] == ("about 20 % → nearly 100 %", "20 % (12 to 30) → none")
    table_1 = entry("T1.t4", "differs", Number(), Number(0.9, 0.9, 0.9), ("", "0.93"))
    assert ledger.row(table_1) == ("a quantity?", "0.93", "0.9")


def test_every_line_has_a_question() -> None:
    """Of each id that the analysis makes; T1 is arithmetic."""
    source = Path(ledger.__file__).with_name("analysis.py").read_text("utf-8")
    ids = set(re.findall(r'"(E\d\.\w+|5\.1\.recovery)"', source)) | {"E1.nationality", "E1.ethnicity"}
    ids |= {f"5.1.{what}.{arm}" for what in ("attractors", "return") for arm in ("base", "cold")}
    assert ids == set(ledger._ASKED)


def test_the_ledger_counts_what_depends_on_models() -> None:
    ages = Number(12.0, 9.0, 15.0), Number(14.0, 11.0, 17.0)
    lines = [entry(id, verdict, *ages) for id, verdict in (
        ("E3.entropy", "same direction"), ("E2.tfidf", "agrees"), ("E1.age", "differs"), ("E1.k", "not comparable"),
        ("T1.t1", "agrees"),
    )]  # fmt: skip
    found = ledger.plain(lines, [Plain((Sentence("Found.", "a difference"),))], ("a", "b"), ["perturb"])
    paper = "“Creativity Has Left the Chat” (Mohammadi 2024)"
    assert found.texts == (
        "Found.",
        f"4 findings of {paper}, put to these models: 1 with the paper's number, 1 in the paper's direction, 1 "
        f"against it "
        "(spread of ages 12 → 14 years), 1 undecided. Each rests on one prompt, or one request for personas, and "
        "need not "
        "hold for others. Nothing is there of perturb.",
    )
    assert found.who == "The base model is a, the aligned model is b. These are not the paper's models."
    nothing = ledger.plain(lines[-1:], [], ("a", "b"), [])
    assert nothing.texts == (f"No finding of {paper} could be put to these models.",)


# ---- on the page, in the terminal, as JSON


def screen() -> Section:
    picture = figure_of_dots("semantic-alike", "Pairs", COUNTS, "A note.")
    first = Sentence("First <b>.", "a difference", picture=picture)
    plain = Plain((first, Sentence("Last.", "the scope")), "Who.", "In brackets.")
    return Section("semantic", "Experiment 2", "About.", "llamadiv semantic", (), plain)


def test_the_first_screen_stands_before_all_else_on_the_page() -> None:
    page = to_page([screen()], "Title")
    places = [
        page.index(words) for words in ("<h1>", "Who.", "First &lt;b&gt;.", "semantic-alike-0", "Last.", "About.")
    ]
    assert places == sorted(places)
    assert "base: less than 1 of 100" in page
    two = to_page([screen(), screen()], "Title", screen().plain)
    assert two.index("First &lt;b&gt;.") < two.index("<nav>")
    assert two.count("semantic-alike-0") == 2  # the place, and the chart's own name


def test_a_picture_has_as_many_filled_dots_and_says_so_in_words() -> None:
    figure = figure_of_dots("n", "t", COUNTS, "")
    assert figure is not None
    panels = list(figure.panels.values())
    filled = [[row["kind"] for row in next(iter(panel["datasets"].values()))].count("filled") for panel in panels]
    assert filled == [1, 60]  # what is there at all has a dot
    assert [panel["description"] for panel in panels] == ["base: less than 1 of 100", "aligned: 60 of 100"]
    assert figure_of_dots("n", "t", [Count("base", 4000.0, None, "as if 4,000")], "") is None


@pytest.mark.parametrize("width", [40, 80])
def test_the_first_screen_in_a_terminal(width: int) -> None:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(in_terminal(screen()))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert [one.rstrip() for one in lines[:4]] == ["Experiment 2", "Who.", "", "- First <b>."]
    assert any("█" in one and "60 of 100" in one for one in lines)
    with console.capture() as capture:
        console.print(CountBars(COUNTS, ascii=True))
    assert capture.get().isascii()


def test_a_notebook_shows_the_sentences_and_one_picture() -> None:
    shown = of_sections([screen(), screen()])
    assert shown.count("First &lt;b&gt;.") == 2
    assert shown.count("<img") == 1


NUMBER = re.compile(r"(?<![\w.“])-?\d[\d,]*(?:\.\d+)?(?! times)")


def numbers_of(value: Any) -> Iterator[float]:
    """Every number of a JSON value."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from numbers_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers_of(one)


def unknown(report: Mapping[str, Any], numbers: list[float]) -> list[str]:
    """Numbers of the plain sentences that no number of the result rounds to, outward or not, as it is or in percent."""
    found = []
    for sentence in report["plain"]:
        text = re.sub(r"“[^”]*”", "", sentence["text"])
        for shown in NUMBER.findall(text):
            step = 10.0 ** -len(shown.partition(".")[2])
            value = float(shown.replace(",", ""))
            if not any(abs(scale * one - value) < 1.0001 * step for one in numbers for scale in (1, 100)):
                found.append(f"{shown} in {text}")
    return found


@pytest.mark.model
@pytest.mark.parametrize(
    "command",
    [
        ("compare", "--pair", "tiny", "-p", "Grace Hopper was", "-n", 30, "--max-tokens", 24),
        ("semantic", "--pair", "scripted", "-n", 30),
        ("syntactic", "--pair", "scripted", "-n", 20),
        ("personas", "--pair", "tiny", "-n", 40),
        ("perturb", "--base", "scripted:base", "--aligned", "scripted:homing", "-p", "She was", "-n", 24),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_every_number_of_the_first_screen_is_one_of_the_result(run: Run, command: tuple[object, ...]) -> None:
    code, out, _ = run(*command, "--json")
    assert code == 0
    report = json.loads(out)
    assert 1 < len(report["plain"]) <= MOST_PLAIN
    numbers = list(numbers_of({name: part for name, part in report.items() if name not in ("plain", "by_prompt")}))
    assert unknown(report, [*numbers, -1.0, 1.0]) == []  # and the ends of the scale of tones


@pytest.mark.model
def test_reproduce_and_report_begin_with_the_same_sentences(run: Run, tmp_path: Path) -> None:
    arms = ("--base", "scripted:base", "--aligned", "scripted:homing")
    report = json.loads(run("reproduce", *arms, "-n", 12, "--out", tmp_path / "a", "--json")[1])
    plain = [one["text"] for one in report["plain"]]
    assert plain == [one["text"] for one in report["ledger"]["plain"]]
    assert 3 <= len(plain) <= MOST_PLAIN
    again = json.loads(run("report", "last", "--out", tmp_path / "b", "--json")[1])
    assert again["plain"] == report["plain"]
    page = (tmp_path / "a" / "index.html").read_text("utf-8")
    assert page.index('id="in-short"') < page.index("<nav>")
    assert (tmp_path / "a" / "semantic-alike.svg").exists()
    printed = run("report", "last", "--out", tmp_path / "c")[1]
    assert "".join(plain[0].split()) in "".join(printed.split())
    sections = [report[name] for name in ("personas", "semantic", "syntactic", "perturb")]
    known = {one["text"] for section in sections for one in section.get("plain", [])}
    assert set(plain[:-1]) <= known


def test_of_a_run_that_was_cut_short_it_is_said() -> None:
    assert unfinished(screen().plain).texts[-1] == UNFINISHED.text


# ---- the share of pairs that are alike


def test_pairs_that_are_alike_by_hand() -> None:
    # Four texts, two equal, the others apart: 1 of 6 pairs; x (x - 1) = 2, x = 2 of 4: Wilson's 0.15 to 0.85.
    found = alike_pairs(np.eye(3)[[0, 0, 1, 2]], 0.7)
    assert (found.value, found.k, found.n) == (pytest.approx(1 / 6), 1, 6)
    low, high = wilson(2, 4)[1:3]
    assert (found.low, found.high) == (pytest.approx((low or 0) ** 2), pytest.approx((high or 0) ** 2))
    none, every = alike_pairs(np.eye(50), 0.7), alike_pairs(np.ones((50, 2)), 0.7)
    assert (none.value, none.low, every.value, every.high) == (0, 0, 1, 1)
    assert none.high == pytest.approx((wilson(1, 50).high or 0) ** 2)  # nothing seen is not nothing there
    assert every.low == pytest.approx((wilson(50, 50).low or 0) ** 2)
    assert alike_pairs(np.eye(1), 0.7).reason is not None
    order = np.random.default_rng(0).permutation(30)
    rows = np.random.default_rng(1).normal(size=(30, 2))
    assert alike_pairs(rows, 0.7) == pytest.approx(alike_pairs(rows[order], 0.7)[:3] + alike_pairs(rows, 0.7)[3:])

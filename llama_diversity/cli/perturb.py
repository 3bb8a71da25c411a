"""`llamadiv perturb`: section 5.1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import click

from llama_diversity.cli.arms import Choice, arms_options
from llama_diversity.cli.experiment import Ask, Drawn, Experiment, check_n, run_alone
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options, read_text
from llama_diversity.cli.results import Result
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.exhibits.perturb import Facts, section
from llama_diversity.experiments import perturb as experiment
from llama_diversity.experiments.perturbations import (
    Insert,
    NothingToChange,
    Opening,
    Perturbation,
    Replace,
    SwapToken,
    Typos,
    edit_share,
    from_settings,
)
from llama_diversity.records import Sample, seen_ids
from llama_diversity.render.jsonl import finite

_N_SHOWN_TOKENS = 40
_COMPLETIONS = "completions"


class Outcome(NamedTuple):
    """What the ledger needs: the arms at the first dose; whether the opening has words of the aligned model's own."""

    arms: Mapping[str, experiment.Arm]
    is_own: bool


class Way(NamedTuple):
    """One arm at one temperature; None is the typed one."""

    name: str
    arm: str
    temperature: float | None


@dataclass(frozen=True)
class Perturb(Experiment):
    """The last arm's completions give an opening; every arm continues it as it is and changed, in each dose.

    The base does so also at a low temperature.
    """

    name: ClassVar[str] = "perturb"
    title: ClassVar[str] = "Section 5.1: does it find its way back?"
    has_more: ClassVar[bool] = True
    least: ClassVar[int] = 8  # four to learn attractors from, four to judge

    change: Perturbation = Replace()
    doses: tuple[int, ...] = (1,)
    prompt: str = experiment.PROMPT
    n: int = experiment.N_SAMPLES
    max_tokens: int = experiment.MAX_TOKENS

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Perturb:
        """The inverse of `asdict` after JSON; the kind of change is told by its fields."""
        given = dict(settings)
        change = from_settings(given.pop("kind"), given.pop("change"))
        return cls(change, tuple(given.pop("doses")), **given)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "kind": self.change.name}

    def options(self) -> list[str]:
        words = self.change.words() if self.change != Replace() else []
        words += ["--dose", ",".join(map(str, self.doses))] if self.doses != (1,) else []
        return [*words, *self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens"})]

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [Ask(_COMPLETIONS, arms[-1], self.prompt, self.n, self.max_tokens)]

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        openings = self._openings(drawn)
        asks = []
        for way in self._ways(drawn):
            for label, text in [("unchanged", openings[0].unchanged), *self._changed(openings)]:
                sampler = None if way.temperature is None else {"temperature": way.temperature}
                asks.append(Ask(f"{way.name}, {label}", way.arm, text, self.n, self.max_tokens, sampler=sampler))
        return asks

    def _openings(self, drawn: Drawn) -> list[Opening]:
        """Of each dose the opening that the most typical completion gives, with words of its own where one has them."""
        samples = list(drawn.answered(_COMPLETIONS))
        said = [one.text.decode("utf-8", "replace") for one in samples]
        order = experiment.by_typicality(drawn.embedded({"": said})[""].vectors)
        first: list[Opening] | None = None
        refusal: NothingToChange | None = None
        for at in order:
            tokens = _pieces(drawn, samples[at])
            try:
                found = [self.change.opening(self.prompt, said[at], dose=dose, tokens=tokens) for dose in self.doses]
            except NothingToChange as error:
                refusal = refusal or error
                continue
            if len(found[0].unchanged) > len(self.prompt):
                return found
            first = first or found
        if first is None:
            raise refusal or NothingToChange("There is no completion to change", next_step="Ask for more with -n.")
        return first

    def _ways(self, drawn: Drawn) -> list[Way]:
        """Every arm, and the base once more at a low temperature, unless it is as low already."""
        base, *others = drawn.arms
        cold = experiment.LOW_TEMPERATURE
        typed = drawn.recipe(_COMPLETIONS).sampler.temperature
        control = [Way(f"{base}, T {cold:g}", base, cold)] if typed > cold else []
        return [Way(base, base, None), *control, *(Way(arm, arm, None) for arm in others)]

    def _changed(self, openings: Sequence[Opening]) -> list[tuple[str, str]]:
        return [(_changed(dose), opening.changed) for dose, opening in zip(self.doses, openings, strict=True)]

    def show(self, drawn: Drawn) -> Result:
        ways = self._ways(drawn)
        labels = ["unchanged", *map(_changed, self.doses)]
        openings = [drawn.recipe(f"{ways[0].name}, {label}").prompt.text for label in labels]
        sides = {way.name: self._sides(drawn, way, labels, openings) for way in ways}
        found = {
            dose: experiment.analyse({name: (of_arm[0], of_arm[at]) for name, of_arm in sides.items()})
            for at, dose in enumerate(self.doses, start=1)
        }
        facts = Facts(
            prompt=self.prompt,
            openings={dose: Opening(openings[0], text) for dose, text in zip(self.doses, openings[1:], strict=True)},
            edit_shares={
                dose: edit_share(Opening(openings[0], text))
                for dose, text in zip(self.doses, openings[1:], strict=True)
            },
            is_own=len(openings[0]) > len(self.prompt),
            arms={way.name: _words(drawn, way) for way in ways},
            n=self.n,
            max_tokens=self.max_tokens,
            tokenizer=drawn.recipe(f"{ways[-1].name}, unchanged").vocab_digest[:8],
            examples=[
                (f"{way.name}: …{opening[-24:]} →", drawn.first_tokens(f"{way.name}, {label}", _N_SHOWN_TOKENS))
                for label, opening in zip(labels[:2], openings[:2], strict=True)
                for way in ways
            ],
        )
        return Result(
            section(found, facts, drawn.command),
            _as_json(found, facts),
            Outcome(next(iter(found.values())), facts.is_own),
        )

    def _sides(self, drawn: Drawn, way: Way, labels: Sequence[str], openings: Sequence[str]) -> list[experiment.Side]:
        """One arm's continuations, of the opening as it is and in every dose."""
        samples = [list(drawn.answered(f"{way.name}, {label}")) for label in labels]
        texts = [[one.text.decode("utf-8", "replace") for one in some] for some in samples]
        embedded = drawn.embedded({str(at): some for at, some in enumerate(texts)})
        return [
            experiment.Side(opening, said, embedded[str(at)].vectors, [one.tokens for one in some])
            for at, (opening, said, some) in enumerate(zip(openings, texts, samples, strict=True))
        ]


def _changed(dose: int) -> str:
    return "changed" if dose == 1 else f"changed {dose} times"


def _words(drawn: Drawn, way: Way) -> str:
    return f"{drawn.arms[way.arm]}, T {drawn.recipe(f'{way.name}, unchanged').sampler.temperature:g}"


def _pieces(drawn: Drawn, sample: Sample) -> list[tuple[bytes, bytes]]:
    """Of each token of a completion what it says, and what the likeliest other one would have said."""
    pieces = drawn.store.pieces(drawn.recipe(_COMPLETIONS).vocab_digest, seen_ids(sample.tokens))
    found = []
    for token in sample.tokens:
        others = [at for at in token["top_ids"].tolist() if at not in (-1, int(token["id"]))]
        said = next((pieces[at] for at in others if pieces[at].control is None), pieces[int(token["id"])])
        found.append((pieces[int(token["id"])].bytes, said.bytes))
    return found


# ---- the command


class _Doses(click.ParamType[tuple[int, ...]]):
    """Sizes of the change, "1,2,4"."""

    name = "1,2,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if not all(part.strip().isdecimal() and 1 <= int(part) <= 1000 for part in parts):
            self.fail(f"{value!r} is no list of numbers from 1 on, like 1,2,4.", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


@click.command()
@arms_options
@click.option("-p", "--prompt", default=experiment.PROMPT, show_default=True, help="Where the opening begins.")
@click.option(
    "--replace",
    nargs=2,
    metavar="OLD NEW",
    help="Change the last OLD of the first two sentences.  [default: was, was not]",
)
@click.option("--insert", metavar="TEXT", help="Put TEXT into the opening instead; --at says where.")
@click.option("--at", type=int, metavar="K", help="With --insert: behind the first K words.")
@click.option("--swap-token", type=int, metavar="K", help="Instead: another token for number K of the completion.")
@click.option("--typos", type=float, metavar="RATE", help="Instead: mistype this share of the opening's letters.")
@click.option("--dose", type=_Doses(), default=(1,), help="Sizes of the change, like 1,2,4.  [default: 1]")
@click.option("-n", "n_samples", type=int, default=experiment.N_SAMPLES, show_default=True, help="Of each opening.")
@click.option("--max-tokens", type=int, default=experiment.MAX_TOKENS, show_default=True, help="Longest continuation.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write figures and numbers there.")
@drawing_options
@layout_options
@common_options
def perturb(
    *,
    choice: Choice,
    prompt: str,
    replace: tuple[str, str] | None,
    insert: str | None,
    at: int | None,
    swap_token: int | None,
    typos: float | None,
    dose: tuple[int, ...],
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Section 5.1: nudge a model off its path; does it find its way back to what it always says?

    Takes an opening from the aligned model's own completions, changes it, and lets every model continue both, and the
    base model also at temperature 0.3. Samples are kept: the same command again draws nothing.

    \b
    Examples:
      llamadiv perturb --replace competed slept
      llamadiv perturb --typos 0.05 --dose 1,2,4
    """
    check_n(n_samples, Perturb.least, "continuations")
    change = _change(replace, insert, at, swap_token, typos, drawing.seed)
    one = Perturb(change, dose, read_text(prompt), n_samples, max_tokens)
    run_alone(one, choice=choice, drawing=drawing, layout=layout, common=common, out=out)


def _change(
    replace: tuple[str, str] | None,
    insert: str | None,
    at: int | None,
    swap_token: int | None,
    typos: float | None,
    seed: int,
) -> Perturbation:
    """The one change that was asked for. Raises UsageError for several, BadValue for an impossible one."""
    named = [
        name
        for name, value in (
            ("--replace", replace),
            ("--insert", insert),
            ("--swap-token", swap_token),
            ("--typos", typos),
        )
        if value is not None
    ]
    if len(named) > 1:
        raise click.UsageError(f"One change at a time: {' or '.join(named)}.")
    if (at is not None) != (insert is not None):
        raise click.UsageError("--insert TEXT and --at K go together: what to put in, and behind how many words.")
    if insert is not None and at is not None:
        return Insert(insert, at)
    if swap_token is not None:
        return SwapToken(swap_token)
    if typos is not None:
        return Typos(typos, seed)
    if replace is not None and not replace[0]:
        raise BadValue("--replace", "", "name the words that are to be replaced")
    return Replace(*replace) if replace is not None else Replace()


def _as_json(found: Mapping[int, Mapping[str, experiment.Arm]], facts: Facts) -> dict[str, Any]:
    first = next(iter(found))
    return {
        "arms": {arm: _arm_as_json(one, facts.arms[arm]) for arm, one in found[first].items()},
        "doses": {
            str(dose): {
                "opening": facts.openings[dose]._asdict(),
                "edit_share": facts.edit_shares[dose],
                "returned": {arm: one.returned._asdict() for arm, one in arms.items()},
                "disturbed": {arm: one.disturbed._asdict() for arm, one in arms.items()},
                "calm_after_tokens": {arm: one.calm._asdict() for arm, one in arms.items()},
            }
            for dose, arms in found.items()
        },
        "opening": facts.openings[first]._asdict(),
        "opening_is_own": facts.is_own,
        "prompt": facts.prompt,
        "n": facts.n,
        "max_tokens": facts.max_tokens,
    }


def _arm_as_json(arm: experiment.Arm, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "n_attractors": arm.n_attractors,
        "in_attractors": arm.in_attractors._asdict(),
        "returned": arm.returned._asdict(),
        "n_undone": {"unchanged": arm.n_undone[0], "changed": arm.n_undone[1]},
        "disturbed": arm.disturbed._asdict(),
        "disturbed_unchanged": arm.disturbed_unchanged._asdict(),
        "calm_after_tokens": arm.calm._asdict(),
        "unchanged_bits": list(arm.unchanged_bits),
        "changed_bits": list(arm.changed_bits),
        "excess_bits": [finite(difference._asdict()) for difference in arm.excess_bits],
    }

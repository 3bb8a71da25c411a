"""`population`: usable people of a target, drawn until there are enough of them, and what each one costs."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from llama_diversity.errors import BadValue
from llama_diversity.metrics.choice import balanced_quotas
from llama_diversity.records import Asking, Prompt
from llama_diversity.studies.population import asking
from llama_diversity.studies.population.analysis import Drew, analyse
from llama_diversity.studies.population.as_json import as_json
from llama_diversity.studies.population.asking import Asked, Number
from llama_diversity.studies.population.exhibits import Facts, section
from llama_diversity.studies.population.gathering import Plan, label, numbers, outputs, planned
from llama_diversity.studies.population.grammar import grammar
from llama_diversity.studies.population.joint import Joint, joint_of
from llama_diversity.studies.population.pipeline import Embed, Person, read, without_twins
from llama_diversity.studies.population.standing import Cell, Standing, advice, standing
from llama_diversity.studies.population.target import Target
from llama_diversity.studies.population.ways import PLANNER, Way
from llama_diversity.studies.results import Result
from llama_diversity.studies.sampling import Request, rendered
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n

N_PEOPLE, MAX_TOKENS, PER_CALL = 200, 200, 5
FIRST, GROWTH = 24, 3  # asks of an arm's first round, and how many times as many there are at most after each other one
SPARE = 1.1  # what is asked beyond what the share of usable ones calls for
BUDGET_TIMES = 20  # n people of --max-tokens each: what an arm may cost where no budget is given
STOP = ("\n---", "\nProduct:")  # where a form goes on with another persona


@dataclass(frozen=True)
class Population(Study):
    """n people of every arm. `seed` decides cells, examples and orders, as it does what is drawn of each prompt."""

    name: ClassVar[str] = "population"
    title: ClassVar[str] = "N usable customers, and what each one costs"
    has_more: ClassVar[bool] = True
    shows_parts: ClassVar[bool] = True
    least: ClassVar[int] = 0

    target: Target
    ways: tuple[Way, ...]
    target_words: tuple[str, ...] = ()  # of the command line: the file, and how it is read
    n: int = N_PEOPLE
    max_tokens: int = MAX_TOKENS
    budget_tokens: int | None = None
    per_call: int = PER_CALL
    is_bound: bool = False  # to a grammar of the fields
    price: float | None = None  # of a million tokens that are written
    seed: int = 0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Population:
        """The inverse of `settings`, after JSON."""
        given = dict(settings)
        target, ways = Target.from_dict(given.pop("target")), tuple(Way(**one) for one in given.pop("ways"))
        return cls(target, ways, tuple(given.pop("target_words")), **given)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "target": self.target.to_dict(), "ways": [asdict(one) for one in self.ways]}

    def options(self) -> list[str]:
        changed = {"-n": "n", "--max-tokens": "max_tokens", "--budget": "budget_tokens", "--price": "price"}
        changed |= {"--per-call": "per_call"}
        return [*self.target_words, *self.differing(changed), *(["--grammar"] if self.is_bound else [])]

    def check_settings(self) -> None:
        check_n(self.n, 1, "people")
        if self.budget_tokens is not None and self.budget_tokens < 1:
            raise BadValue("--budget", self.budget_tokens, "it is a number of tokens, 1 or more")
        if not 1 <= self.per_call <= 100:
            raise BadValue("--per-call", self.per_call, "ask for 1 to 100 personas a call")
        if self.price is not None and not (math.isfinite(self.price) and self.price >= 0):
            raise BadValue("--price", self.price, "it is the price of a million tokens, 0 or more")
        assert self.wanted  # refuses margins that contradict each other

    def method(self) -> Method:
        given = [way.name for way in self.ways if way.has_cell]
        return Method(
            f"People of “{self.target.title}” were drawn in rounds until {self.n} were usable, each asked for in "
            "words of its own; orders, worked examples and given cells came from a seeded stream.",
            {
                "usable": "share of outputs that can be read, of known values, within the rules, no copy of a "
                "worked example or of an earlier person (equal fields, or texts of cosine 0.92 or more)",
                "tokens a usable person": "all tokens written, over usable people; jackknife over asks",
                "tokens for the next new one": "tokens of an output, over the chance that it is usable and new",
                "different people": "effective numbers of order 2, by the fixed fields and by texts, at equal numbers",
                "fit": "total variation and Jensen-Shannon divergence from each margin and pair, beside chance",
            },
            "Verdicts of fit are of simultaneous 95 % intervals of all cells and tables of an arm; of calls for "
            "several people the call is the unit.",
            rules="Of every cell as many were chosen as the target has, those farthest apart in meaning."
            + (f" Of {' and '.join(given)}, which were given the fixed fields, no fit is stated." if given else ""),
            rests_on=("encoder", "vader"),
        )

    # ---- the target

    @functools.cached_property
    def joint(self) -> Joint | None:
        """The distribution over cells; None where no field is fixed. Raises what contradicts itself."""
        return joint_of(self.target) if self.target.fixed else None

    @functools.cached_property
    def wanted(self) -> dict[Cell, int]:
        """How many of n people are of each cell, where any are; margins and pairs come near to theirs."""
        if self.joint is None:
            return {(): self.n}
        chance = asking.stream(self.seed, "cells", "").random
        found = balanced_quotas(self.joint.shares, self.joint.codes, self.n, chance)
        return {cell: int(n) for cell, n in zip(self.joint.cells, found, strict=True) if n}

    @property
    def budget(self) -> int:
        """The most tokens that an arm may cost."""
        return self.budget_tokens or BUDGET_TIMES * self.n * self.max_tokens

    @functools.cached_property
    def _places(self) -> dict[Cell, int]:
        return {cell: at for at, cell in enumerate(self.joint.cells if self.joint else ())}

    def cell_of(self, number: Number) -> Cell | None:
        """The cell that is given in an ask."""
        return None if number.cell is None or self.joint is None else self.joint.cells[number.cell]

    # ---- what is asked

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [self._ask(way, number) for way in self.ways for number in self._first(way)]

    def first_asks(self) -> list[Ask]:
        """One of each arm, to be shown."""
        return [self._ask(way, self._first(way)[0]) for way in self.ways]

    def first_prompts(self, asking: Asking, session: Session) -> dict[str, Prompt]:
        """These as the models see them, without weights."""
        return {
            ask.arm: rendered(
                session.model(self.model_of(ask.arm)), Request(ask.text, ask.is_chat), asking, session
            ).prompt
            for ask in self.first_asks()
        }

    def model_of(self, arm: str) -> str:
        """The model that is called so in an ask."""
        for way in self.ways:
            if arm == way.name + PLANNER and way.planner:
                return way.planner
            if arm == way.name:
                return way.model
        raise KeyError(arm)

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        found = []
        for way in self.ways:
            unwritten = self._unwritten(way, drawn) if way.mode == "plan" else []
            found += unwritten or [self._ask(way, number) for number in self._next(way, drawn)]
        return found

    def _first(self, way: Way) -> list[Number]:
        longest = self.max_tokens * self.personas_of_ask(way)
        n_most = min(FIRST, max(1, self.budget // longest))
        if way.has_cell:
            return self._of_cells(self.wanted, {}, n_most)
        return [Number(at) for at in range(min(n_most, -(-self.n // self.personas_of_ask(way))))]

    def _next(self, way: Way, drawn: Drawn) -> list[Number]:
        """What is asked next, now that all before is there; nothing where that is enough, or no more is to be had."""
        asked, so_far = numbers(way, drawn), self.standing(way, drawn)
        if so_far.is_enough or so_far.stop:
            return []
        n_most = min((GROWTH - 1) * len(asked), so_far.n_affordable)
        usable_of_ask = max(so_far.n_usable, 0.5) / len(asked)
        if way.has_cell:
            lacks = {cell: math.ceil(SPARE * n / usable_of_ask) for cell, n in so_far.lacking.items()}
            return self._of_cells(lacks, Counter(one.cell for one in asked), n_most)
        n_more = math.ceil(SPARE * (self.n - so_far.n_usable) / usable_of_ask)
        return [Number(len(asked) + at) for at in range(min(n_most, n_more))]

    def _of_cells(self, lacks: Mapping[Cell, int], asked: Mapping[int | None, int], n_most: int) -> list[Number]:
        """So many more of each cell, at most `n_most` together: first one of every cell, then a second of every one.

        Cells come in a random order, so that a run that is cut short has not those of the first value alone.
        """
        places = {self._places[cell]: n for cell, n in lacks.items()}
        found = [Number(asked.get(place, 0) + at, place) for place, n in places.items() for at in range(n)]
        first = {place: asked.get(place, 0) for place in places}
        turn = {place: asking.stream(self.seed, "turn", str(place)).random() for place in places}
        return sorted(found, key=lambda one: (one.at - first[one.cell or 0], turn[one.cell or 0]))[: max(0, n_most)]

    def personas_of_ask(self, way: Way) -> int:
        """How many personas one ask is for."""
        return self.per_call if way.mode == "verbalized" else 1

    def _ask(self, way: Way, number: Number) -> Ask:
        is_chat = way.is_chat and way.mode != "plan"
        arm = way.name + PLANNER if way.mode == "plan" else way.name
        return self._asking(way, self.asked(way, number), label(way, number), arm, number, is_chat=is_chat)

    def _unwritten(self, way: Way, drawn: Drawn) -> list[Ask]:
        """What the plans call for that is not asked yet."""
        found = []
        for number in numbers(way, drawn):
            name = label(way, number, is_written=True)
            if name not in drawn.cells:
                plan = planned(self, way, number, drawn)
                if plan.why is None:
                    asked = self.written(way, number, plan)
                    found.append(self._asking(way, asked, name, way.name, number, is_chat=True))
        return found

    def _asking(self, way: Way, asked: Asked, name: str, arm: str, number: Number, *, is_chat: bool) -> Ask:
        n_personas = self.personas_of_ask(way)
        target = asking.planning(self.target) if arm.endswith(PLANNER) else self.target
        return Ask(
            name,
            arm,
            asked.text,
            1,
            self.max_tokens * n_personas,
            is_shortened=n_personas > 1,  # a call may end where the context does
            is_chat=is_chat,
            stop=() if is_chat else STOP,
            grammar=grammar(asked, target) if self.is_bound and n_personas == 1 else None,
            sampler=way.sampler or None,
            repeat=number.at,
        )

    def asked(self, way: Way, number: Number) -> Asked:
        """What an arm is asked first, anew for every number."""
        chance = asking.stream(self.seed, way.name, str(number))
        given, cell = asking.givens(self.target), self.cell_of(number)
        if cell is not None and self.joint is not None:
            given |= asking.values_in(self.target, self.joint, cell, chance)
        if way.mode == "verbalized":
            return asking.call(self.target, chance, self.per_call, given)
        if way.mode == "plan":
            return asking.form(asking.planning(self.target), self.joint, chance, given)
        if way.is_chat:
            return asking.request(self.target, chance, given)
        return asking.form(self.target, self.joint, chance, given)

    def written(self, way: Way, number: Number, plan: Plan) -> Asked:
        """What is asked of the model that writes by a plan."""
        chance = asking.stream(self.seed, way.name, f"{number}, written")
        return asking.request(self.target, chance, {**self.asked(way, number).given, **plan.values}, plan.trait)

    # ---- what was drawn

    def embedding(self, drawn: Drawn) -> Embed:
        """What makes vectors of texts: the sentence encoder."""
        return lambda texts: drawn.embedded({"": texts})[""].vectors

    def people(self, way: Way, drawn: Drawn) -> list[Person]:
        """What became of every output of an arm, in order."""
        key = way.name, len(drawn.cells), sum(drawn.lacks().values())
        if key not in self._judged:
            found = [one for number in numbers(way, drawn) for one in self._read(way, number, drawn)]
            self._judged[key] = without_twins(found, self.target, self.embedding(drawn))
        return self._judged[key]

    def _read(self, way: Way, number: Number, drawn: Drawn) -> list[Person]:
        """The outputs of one ask, each by itself; later rounds do not read them again."""
        names = [label(way, number), label(way, number, is_written=True)]
        key = names[0], *(drawn.cells[name].recipe_key for name in names if name in drawn.cells)
        if not self._known.get(key):
            self._known[key] = [read(one, self.target) for one in outputs(self, way, number, drawn)]
        return self._known[key]

    @functools.cached_property
    def _known(self) -> dict[tuple[str, ...], list[Person]]:
        """People by the ask and its recipes: two asks may share one where decoding is greedy."""
        return {}

    @functools.cached_property
    def _judged(self) -> dict[tuple[str, int, int], list[Person]]:
        """People by arm and by how much is drawn: a round asks for them several times."""
        return {}

    def so_far(self, drawn: Drawn) -> str:
        """How many are usable, and how many outputs are to come in all, as far as the share of usable ones tells."""
        words, n_left = [], 0
        for way in self.ways:
            now = self.standing(way, drawn)
            words.append(f"{now.n_usable:,} of {self.n:,} usable" + (f" ({way.name})" if self.ways[1:] else ""))
            if not now.is_enough and not now.stop:
                n_left += min(
                    now.n_affordable, math.ceil((self.n - now.n_usable) * now.n_outputs / max(now.n_usable, 1))
                )
        return f"{', '.join(words)}, about {n_left:,} outputs to come"

    def standing(self, way: Way, drawn: Drawn) -> Standing:
        """Where an arm stands."""
        people = self.people(way, drawn)
        return standing(
            people,
            self.target,
            self.wanted,
            has_cell=way.has_cell,
            n_tokens=sum(one.output.n_tokens for one in people),
            budget_tokens=self.budget,
            advice=advice(way, is_bound=self.is_bound),
        )

    def show(self, drawn: Drawn) -> Result:
        embed = self.embedding(drawn)
        drew = [Drew(way, self.people(way, drawn), self.standing(way, drawn)) for way in self.ways]
        found = analyse(drew, self.target, self.joint, self.wanted, self.n, embed)
        facts = Facts(self.target, self.n, self.max_tokens, self.price, self.is_bound)
        return Result(section(found, facts, drawn.command), as_json(found, self.target), found)

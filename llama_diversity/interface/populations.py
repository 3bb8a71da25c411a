"""`population` as a function: N usable people that fit a target, and what each one costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llama_diversity.interface.arguments import public
from llama_diversity.interface.found import Found
from llama_diversity.interface.models import Model, alone, reference_of
from llama_diversity.interface.sessions import current
from llama_diversity.interface.studies import Models, asking_of, choice_of, drawing_of
from llama_diversity.studies import conduct
from llama_diversity.studies.population import specs
from llama_diversity.studies.population import study as people
from llama_diversity.studies.population.files import check_name, rows, write_people
from llama_diversity.studies.population.load import load_target
from llama_diversity.studies.results import check_file


@public
def population(
    target: str | Path,
    *,
    model: Model | str | None = None,
    pair: Models = None,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    arms: Mapping[str, str] | None = None,
    mode: str | Sequence[str] = (),
    n: int = people.N_PEOPLE,
    max_tokens: int = people.MAX_TOKENS,
    budget: int | None = None,
    per_call: int = people.PER_CALL,
    grammar: bool = False,
    price: float | None = None,
    weight: str | None = None,
    field: str | Sequence[str] = (),
    product: str | None = None,
    free: str | Sequence[str] = (),
    frontier: str | None = None,
    to: str | Path | Sequence[str | Path] = (),
    every: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    first_temperature: float | None = None,
    dynatemp_range: float = 0.0,
    dynatemp_exponent: float = 1.0,
    top_n_sigma: float = 0.0,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.1,
    seed: int = 0,
    start: str = "auto",
    control_tokens: bool = False,
) -> Found:
    """N usable customers of a product that fit a population, drawn until there are enough, and what each one costs.

    `target` is the path of a TOML, JSON, CSV or Parquet file, as the command takes it; of a table `weight` names the
    column of weights and `field` the columns to take; `product` and `free` name the product and fields for the model
    to write that the file does not. One `model` writes in mode quota, or in each `mode` that is
    named; `arms` by name are texts as --arm has them behind NAME= ("tiny-aligned,mode=quota"). `budget` bounds the
    tokens of an arm, `price` is that of a million tokens, `frontier` names temperatures ("0.7,1") at which every arm
    is drawn. `to` writes the people to files, `every` all outputs with the reason why they were lost. The people are
    made up.

    Raises BadUsage, BadValue, BadTarget, TemplateError, PromptTooLong, NoEncoder, Interrupted, and what models and
    stores raise.

    >>> import tempfile, llama_diversity as ld
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "target.toml"
    >>> _ = path.write_text('''
    ... product = "A cup."
    ... fields.gender = { values = { female = 0.5, male = 0.5 } }
    ... fields.review = { free = true }
    ... ''')
    >>> found = ld.population(path, model="scripted:people", n=4)
    >>> found.to_dict()["arms"]["quota"]["chosen"]
    4
    """
    session = current("population")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    files = [Path(one) for one in ([to] if isinstance(to, str | Path) else to)]
    for path in files:
        check_name(path)
        check_file(path, "to")
    fields = (field,) if isinstance(field, str) else tuple(field)
    written = (free,) if isinstance(free, str) else tuple(free)
    loaded = load_target(Path(target), weight=weight, fields=fields, product=product, free=written)
    typed = [f"{name}={one}" for name, one in (arms or {}).items()]
    modes = (mode,) if isinstance(mode, str) else tuple(mode)
    choice = choice_of(pair, base, aligned, ladder)
    asked = specs.ways_of(None if model is None else reference_of(model), choice, typed, modes, session)
    ways = specs.over_temperatures(asked, frontier)
    specs.check_ways(ways, loaded)
    one = people.Population(
        loaded,
        ways,
        specs.target_words(Path(target), weight, fields, product, written),
        n,
        max_tokens,
        budget,
        per_call,
        is_bound=grammar,
        price=price,
        seed=seed,
    )
    one.check_settings()
    with alone():
        words = specs.way_words(asked, frontier)
        result = conduct.run(one, specs.arms_of(ways, session), drawing=drawing, session=session, words=words)
    for path in files:
        write_people(path, rows(result.found, loaded, every=every), loaded)
    return Found(result)

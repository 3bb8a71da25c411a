"""The studies as functions: each has the parameters that its command has options, with the same defaults.

`pair` names a pair of models.toml, or is a `Pair`; `base` and `aligned` name two models, or are two; `ladder` names
the stages of a family. Without any it is the pair that ships. The sampler (`temperature`, `top_k`, `top_p`, `min_p`),
`seed`, `start` (what raw prompts begin with) and `control_tokens` are as in `Model.sample`. Samples are kept in the
session's store: the same call again draws nothing, a larger `n` draws the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.interface.arguments import public
from llama_diversity.interface.found import Found, Report
from llama_diversity.interface.models import Arm, Model, Pair, alone, reference_of, template_args_of
from llama_diversity.interface.models import arm as as_arm
from llama_diversity.interface.sessions import current
from llama_diversity.records import Asking, Sampler
from llama_diversity.render.files import write_whole
from llama_diversity.studies import arms as choosing
from llama_diversity.studies import conduct
from llama_diversity.studies import prompts as reading
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.collapse.analysis import Knobs
from llama_diversity.studies.collapse.study import Collapse
from llama_diversity.studies.compare import study as comparing
from llama_diversity.studies.compare.specs import ArmSpec, arm_words, parse_arm
from llama_diversity.studies.compare.study import Compare, arms_of
from llama_diversity.studies.coverage import analysis as modes
from llama_diversity.studies.coverage.study import Coverage
from llama_diversity.studies.decan import analysis as reading_others
from llama_diversity.studies.decan.study import Decan
from llama_diversity.studies.decompose.study import decompose_of
from llama_diversity.studies.diff import analysis as differing
from llama_diversity.studies.diff import study as reading_both
from llama_diversity.studies.diff.study import Diff
from llama_diversity.studies.drawing import Drawing, refuse_idle
from llama_diversity.studies.measuring.divergence import BLOCKED_ABOVE
from llama_diversity.studies.methods import Methods, methods_of
from llama_diversity.studies.paper import study as paper
from llama_diversity.studies.personas import analysis as people
from llama_diversity.studies.personas.examples import PRODUCT
from llama_diversity.studies.personas.exhibits import people_csv
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.perturb import analysis as nudging
from llama_diversity.studies.perturb.perturbations import change_of
from llama_diversity.studies.perturb.study import perturb_of
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT, Prompts
from llama_diversity.studies.reframe import analysis as surviving
from llama_diversity.studies.reframe import specs as putting
from llama_diversity.studies.reframe import study as putting_otherwise
from llama_diversity.studies.results import check_file
from llama_diversity.studies.samplers import check_cuts
from llama_diversity.studies.semantic import analysis as meaning
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.study import Study
from llama_diversity.studies.syntactic import analysis as entropies
from llama_diversity.studies.syntactic.study import Syntactic
from llama_diversity.studies.tree import analysis as openings_of
from llama_diversity.studies.tree import study as searching
from llama_diversity.studies.valid import analysis as known
from llama_diversity.studies.valid import study as answering
from llama_diversity.studies.variety import study as judging

Models = Pair | tuple[Model | str, Model | str] | str | None
AnyArm = Model | Arm | str


@public
def compare(
    arms: Mapping[str, AnyArm] | None = None,
    *,
    pair: Models = None,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompts: Sequence[str] | str | Path | None = None,
    set: str | None = None,
    n: int = comparing.N_SAMPLES,
    max_tokens: int = comparing.MAX_TOKENS,
    prefix: int | None = None,
    equal_n: bool = False,
    reference: str | None = None,
    pairs: Literal["reference", "all"] = "reference",
    joint: bool = False,
    valid: str | None = None,
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
    """Which of two or more arms is more diverse, and by how much? With intervals that hold, or the reason for none.

    `arms` by name: models, models with chat(), what `arm` makes of them, or texts as `--arm` has them behind NAME=
    ("tiny-base,T=0.7"). `reference` names the one that the others are set against, else the first; with `pairs` "all"
    every two are. `prompts`: texts, or the pathlib.Path of a file; `set`: prompts that ship. `n` generations of each
    prompt, at most `max_tokens` long. `prefix`: judge the first so many tokens only; `equal_n`: of arms of different n
    take the first of each; `joint`: report arms that differ in more than one part; `valid`: a regular expression that a
    valid output must contain.

    Raises BadUsage, BadValue, NotComparable, Unfit, NoEncoder, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.compare({"wide": "scripted:base", "sharp": "scripted:aligned"}, prompts=["She was"], n=30)
    >>> found.verdicts[0].measure, found.verdicts[0].arm
    ('distance', 'sharp')
    """
    session = current("compare")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    choice = choice_of(pair, base, aligned, ladder)
    specs = _specs(arms, choice)
    for spec in specs:
        check_cuts(f"arm {spec.name}", spec.sampler, drawing.sampler)
    texts, words_of, source = _prompts(prompts, set) or reading.shipped()
    one = Compare(
        specs,
        texts,
        words_of,
        n,
        max_tokens,
        prefix,
        equal_n,
        joint,
        valid,
        reference=reference,
        pairs=pairs,
        prompt_source=dict(source),
        seed=seed,
    )
    one.check_settings()
    resolved, words = arms_of(specs, choice, session, is_typed=arms is not None)
    with alone():
        return Found(conduct.run(one, resolved, drawing=drawing, session=session, words=words))


@public
def decan(
    arms: Mapping[str, AnyArm] | None = None,
    *,
    pair: Models = None,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompts: Sequence[str] | str | Path | None = None,
    set: str | None = None,
    scorer: Model | str | None = None,
    n: int = reading_others.N_ANSWERS,
    max_tokens: int = reading_others.MAX_TOKENS,
    permutations: int = reading_others.PERMUTATIONS,
    form: Literal["continued", "listed"] | None = None,
    cut: int | None = None,
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
    """Does a reader who has seen the other answers to a prompt still learn something from one more?

    `arms`, `prompts` and `set` as in `compare`. `scorer` reads `n` answers of each arm to each prompt, in at least
    `permutations` orders; it is the model of the first arm where none is named. `form`: answers are "continued", each
    behind its prompt, or "listed", numbered behind one prompt, as where an arm chats. `cut`: so many tokens of an
    answer are read, else `max_tokens` or as many as fit. What was read before is kept.

    Raises BadUsage, BadValue, Unfit, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.decan({"wide": "scripted:base", "sharp": "scripted:aligned"}, prompts="She was", max_tokens=8)
    >>> found.to_dict()["arms"]["wide"]["fall"]["mean"] < 1e-6  # a chain forgets: the others tell nothing
    True
    """
    session = current("decan")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    choice = choice_of(pair, base, aligned, ladder)
    specs = _specs(arms, choice)
    for spec in specs:
        check_cuts(f"arm {spec.name}", spec.sampler, drawing.sampler)
    texts, words_of, source = _prompts(prompts, set) or reading.shipped()
    reader = None if scorer is None else reference_of(scorer)
    one = Decan(specs, texts, words_of, n, max_tokens, permutations, reader, form, cut, dict(source), seed)
    one.check_settings()
    resolved, words = arms_of(specs, choice, session, is_typed=arms is not None)
    with alone():
        return Found(conduct.run(one, resolved, drawing=drawing, session=session, words=words))


@public
def decompose(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    quantised: tuple[Model | str, Model | str] | None = None,
    starts: tuple[str, str] | None = None,
    sampler: str | None = None,
    template_args: Mapping[str, Any] | None = None,
    prompts: Sequence[str] | str | Path | None = None,
    set: str | None = None,
    n: int = comparing.N_SAMPLES,
    max_tokens: int = comparing.MAX_TOKENS,
    prefix: int | None = None,
    valid: str | None = None,
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
    """How much of the loss of diversity is the weights', and how much the prompt format's?

    Draws all combinations of base and aligned weights, asked raw and through the aligned model's chat template.
    Further factors: `quantised`, the same two models at another quantisation; `sampler`, like "T=0.7,top_k=40".
    `starts`, two ways to begin a raw prompt, stands in place of the template. The others are as in `compare`.

    Raises what `compare` raises.

    >>> import llama_diversity as ld
    >>> found = ld.decompose(base="scripted:base", aligned="scripted:aligned", prompts=["She was"], n=12)
    >>> [one.name for one in found.found.effects[:3]]
    ['weights', 'template', 'weights x template']
    """
    session = current("decompose")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    choice = choice_of(pair, base, aligned)
    one, resolved, words = decompose_of(
        choice,
        _prompts(prompts, set) or reading.shipped(),
        drawing,
        session,
        sampler=sampler,
        quantised=None if quantised is None else (reference_of(quantised[0]), reference_of(quantised[1])),
        template_args=template_args_of(template_args),
        starts=starts,
        n=n,
        max_tokens=max_tokens,
        prefix=prefix,
        valid=valid,
    )
    with alone():
        return Found(conduct.run(one, resolved, drawing=drawing, session=session, words=words))


@public
def coverage(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompt: str = PROMPT,
    n: int = modes.N_SAMPLES,
    max_tokens: int = modes.MAX_TOKENS,
    by: Literal["meaning", "text"] = "meaning",
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
    """How many kinds of output has each model for a prompt, seen and unseen, and how many more would show them?

    `by`: outputs of one meaning are a kind, or equal texts.

    Raises BadUsage, BadValue, OneModel, NoAnswer, NoEncoder, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.coverage(base="scripted:base", aligned="scripted:aligned", prompt="She was", n=20, by="text")
    >>> found.to_dict()["arms"]["base"]["n"]
    20
    """
    study = Coverage(prompt, n, max_tokens, by)
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    return _of_models("coverage", study, choice_of(pair, base, aligned, ladder), drawing)


@public
def syntactic(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompt: str = entropies.PROMPT,
    n: int = entropies.N_SAMPLES,
    max_tokens: int = entropies.MAX_TOKENS,
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
    """Experiment 3: how spread out are the next-token distributions of a base and an aligned model? Entropies in bits.

    Raises BadUsage, BadValue, OneModel, DifferentVocabularies, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.syntactic(base="scripted:base", aligned="scripted:aligned", n=4, max_tokens=8)
    >>> list(found.to_dict()["arms"])
    ['base', 'aligned']
    """
    study = Syntactic(prompt, n, max_tokens)
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    return _of_models("syntactic", study, choice_of(pair, base, aligned, ladder), drawing)


@public
def semantic(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompt: str = PROMPT,
    n: int = meaning.N_SAMPLES,
    max_tokens: int = MAX_TOKENS,
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
    """Experiment 2: how alike are the completions of one prompt, and how many kinds of them are there?

    Raises BadUsage, BadValue, OneModel, NoAnswer, NoEncoder, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.semantic(base="scripted:base", aligned="scripted:aligned", n=12, max_tokens=8)
    >>> "sbert_cosine" in found.to_dict()["arms"]["aligned"]
    True
    """
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    return _of_models("semantic", Semantic(prompt, n, max_tokens), choice_of(pair, base, aligned, ladder), drawing)


@public
def personas(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    n: int = people.N_SAMPLES,
    max_tokens: int = people.MAX_TOKENS,
    product: str = PRODUCT,
    grammar: bool = False,
    template_args: Mapping[str, Any] | None = None,
    csv: str | Path | None = None,
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
    """Experiment 1: how varied are the customers that a model makes up, and what do they say of a product?

    The base model continues forms; the others are asked through their chat template, with `template_args`. `product` is
    what they review. `grammar` forces whole forms, which changes what is measured. Every output is a row of
    `found.rows`, valid or not, and of the file `csv`.

    Raises BadUsage, BadValue, OneModel, TemplateError, NoAnswer, NoEncoder, Interrupted, and what models and stores
    raise.

    >>> import llama_diversity as ld
    >>> found = ld.personas(base="scripted:base", aligned="scripted:aligned", n=4, max_tokens=8)
    >>> found.to_dict()["arms"]["aligned"]["n"]
    4
    """
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    study = Personas(n, max_tokens, grammar, template_args_of(template_args), product)
    if csv is not None:
        check_file(Path(csv), "--csv")
    found = _of_models("personas", study, choice_of(pair, base, aligned, ladder), drawing)
    if csv is not None:
        write_whole(Path(csv), people_csv(found.found.rows))
    return found


@public
def perturb(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompts: Sequence[str] | str | Path | None = None,
    set: str | None = None,
    replace: tuple[str, str] | None = None,
    insert: str | None = None,
    at: int | None = None,
    swap_token: int | None = None,
    typos: float | None = None,
    opening_of: str | None = None,
    dose: int | Sequence[int] = (1,),
    n: int = nudging.N_SAMPLES,
    openings: int | None = None,
    max_tokens: int = nudging.MAX_TOKENS,
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
    """Section 5.1: nudge a model off its path; does it find its way back to what it always says?

    One change of an opening: `replace` (old words, new ones; "was" and "was not" where nothing is named), `insert` a
    text behind the first `at` words, `swap_token` number k of the completion, or `typos`, the share of letters; each in
    every `dose`. Or `opening_of`, the id of a run of `branch`: its openings, as they were taken. `n` continuations of
    each arm are spread over so many `openings`.

    Raises BadUsage, BadValue, OneModel, NothingToChange, NoAnswer, NoEncoder, Interrupted, and what models and stores
    raise.

    >>> import llama_diversity as ld
    >>> pair = ld.Pair(ld.model("scripted:base"), ld.model("scripted:attractor"))
    >>> found = ld.perturb(pair, prompts=["She was"], n=8, max_tokens=12, openings=1)
    >>> found.to_dict()["n_of_an_opening"]
    8
    """
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    change, session = change_of(replace, insert, at, swap_token, typos, seed), current("perturb")
    how = {"doses": _doses(dose), "n": n, "n_openings": openings, "max_tokens": max_tokens}
    study = perturb_of(change, opening_of, _prompts(prompts, set), session, **how)
    return _of_models("perturb", study, choice_of(pair, base, aligned, ladder), drawing)


@public
def collapse(
    *,
    rule: str = Knobs.rule,
    beta: float = Knobs.beta,
    eps: float = Knobs.clip,
    epochs: int = Knobs.n_epochs,
    lr: float = Knobs.learning_rate,
    value_step: float = Knobs.value_step,
    steps: int = Knobs.n_steps,
    runs: int = Knobs.n_runs,
    third: bool = False,
    seed: int = 0,
) -> Found:
    """Section 5.2: why does rewarding responses narrow a policy, and what holds against it? No model is loaded.

    `rule`: how logits change ("table", "ppo", ...); `beta`, the KL penalty; `eps`, where PPO clips; `epochs` of it;
    `lr`, the learning rate; `value_step` of the moving average; `steps` of each of the `runs`; `third`: a third
    response of reward 1.5.

    Raises BadValue.

    >>> import llama_diversity as ld
    >>> found = ld.collapse(rule="ppo", beta=0.3, runs=20)
    >>> found.to_dict()["knobs"]["beta"]
    0.3
    """
    knobs = Knobs(
        rule=rule,
        learning_rate=lr,
        beta=beta,
        clip=eps,
        n_epochs=epochs,
        value_step=value_step,
        n_steps=steps,
        n_runs=runs,
        seed=seed,
    )
    return Found(Collapse(knobs, third).result())


@public
def diff(
    text: str | None = None,
    *,
    pair: Models = None,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompt: str | None = None,
    n: int | None = None,
    max_tokens: int | None = None,
    blocked_above: float = BLOCKED_ABOVE,
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
    """How far apart are two models at each token, and what does post-training block? KL, entropies, surprisals in bits.

    Reads `text`, or without one the base model's own completions (`n` of `prompt`, at most `max_tokens` long; None is
    the command's default), with both models, which are in memory together. `blocked_above`: the base's probability
    from which on a token can be blocked.

    Raises BadUsage, BadValue, OneModel, DifferentVocabularies, DifferentTokens, PromptTooLong, EngineError,
    Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.diff("She was a nurse.", base="scripted:base", aligned="scripted:aligned")
    >>> found.to_dict()["arms"]["aligned"]["n_texts"]
    1
    """
    session = current("diff")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    choice = choice_of(pair, base, aligned, ladder)
    if text is None:
        study = Diff(
            PROMPT if prompt is None else prompt,
            differing.N_SAMPLES if n is None else n,
            MAX_TOKENS if max_tokens is None else max_tokens,
            blocked_above,
        )
        return _of_models("diff", study, choice, drawing)
    if any(one is not None for one in (prompt, n, max_tokens)) or drawing != Drawing(asking=drawing.asking):
        raise BadUsage("Of a text that is given nothing is drawn: leave out prompt, n, max_tokens, sampler and seed.")
    Diff(above=blocked_above).check_settings()
    with alone():
        arms = choosing.resolve_choice(choice, session)
        asking, words = drawing.asking, choice.words()
        return Found(
            reading_both.run_given(text, arms, asking=asking, session=session, above=blocked_above, words=words)
        )


@public
def tree(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompt: str = openings_of.PROMPT,
    depth: int = openings_of.DEPTH,
    k: int = openings_of.K,
    budget: int = openings_of.BUDGET,
    start: str = "auto",
    control_tokens: bool = False,
) -> Found:
    """The `k` likeliest openings of a prompt, `depth` tokens long, under each model, and the mass that they hold.

    Nothing is sampled. The list is exact where the `budget`, of paths followed up, suffices; else bounds say what is
    certain.

    Raises BadUsage, BadValue, OneModel, DifferentVocabularies, DifferentTokens, PromptTooLong, Interrupted, and what
    models raise.

    >>> import llama_diversity as ld
    >>> found = ld.tree(base="scripted:base", aligned="scripted:aligned", prompt="She", depth=3, k=5)
    >>> found.to_dict()["arms"]["base"]["is_complete"]
    True
    """
    session = current("tree")
    question = searching.Question(prompt, depth, k, budget, asking_of(start, control_tokens=control_tokens))
    question.check_settings()
    choice = choice_of(pair, base, aligned, ladder)
    with alone():
        arms = choosing.resolve_choice(choice, session)
        return Found(searching.run(question, arms, session=session, words=choice.words()))


@public
def reframe(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    arms: Mapping[str, AnyArm] | None = None,
    set: str | Sequence[str] | None = None,
    reframings: str | Path | None = None,
    words: int = surviving.N_WORDS,
    deep: float = surviving.DEEP,
    budget: int = surviving.BUDGET,
    start: str = "auto",
    control_tokens: bool = False,
) -> Found:
    """Does the likeliest answer to a prompt survive when the question is put otherwise? Nothing is sampled.

    `arms` as in `compare`, without n and seed. `set`: of the prompts that ship those of these names; `reframings`: a
    file of one's own, the original first. An answer has so many `words`. `deep`: the share of the reframings beyond
    which an answer that stays the likeliest is deep. `budget`: paths that are followed up for a prompt at most.

    Raises BadUsage, BadValue, OneModel, DifferentVocabularies, TemplateError, PromptTooLong, EngineError, Interrupted,
    and what models raise.

    >>> import llama_diversity as ld
    >>> found = ld.reframe(base="scripted:base", aligned="scripted:homing", set="hopper")
    >>> [one["answer"] for one in found.to_dict()["arms"]["aligned"]["prompts"]["hopper"]["attractors"]]
    ['nurse']
    """
    session = current("reframe")
    choice = choice_of(pair, base, aligned, ladder)
    specs = _specs(arms, choice)
    names = () if set is None else (set,) if isinstance(set, str) else tuple(set)
    sets, words_of = putting.read_sets(names, None if reframings is None else str(reframings))
    question = putting_otherwise.Question(
        sets, words_of, words, deep, budget, asking_of(start, control_tokens=control_tokens)
    )
    named = arm_words(specs, choice, is_typed=arms is not None)
    with alone():
        return Found(putting_otherwise.run(question, specs, session=session, words=named))


@public
def valid(
    arms: Mapping[str, AnyArm] | None = None,
    *,
    model: Model | str | None = None,
    pair: Models = None,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    set: Sequence[str] | str | Path | None = None,
    least: float = known.LEAST,
    start: str = "auto",
    control_tokens: bool = False,
) -> Found:
    """How often is an answer valid, and how evenly are the valid ones said? Exact, where all of them are known.

    `arms` by name, as in `compare`, or one `model` by itself. `set`: names of sets that ship (digits or digits-N-SUM,
    months, weekdays, states, elements, countries, primes) or of files, all that ship where none is named. Spellings
    of an answer other than the usual one are followed while they are likelier than `least`. Nothing is sampled.

    Raises BadUsage, BadValue, DifferentVocabularies, PromptTooLong, TemplateError, Interrupted, and what models raise.

    >>> import llama_diversity as ld
    >>> found = ld.valid(model="scripted:homing", set="months")
    >>> found.to_dict()["arms"]["model"]["sets"]["months"]["n_answers"]
    12
    """
    session = current("valid")
    one = None if model is None else reference_of(model)
    choice = choice_of(pair, base, aligned, ladder)
    typed = (
        [] if arms is None else [f"{name}={_spec(name, each).word().partition('=')[2]}" for name, each in arms.items()]
    )
    named = [set] if isinstance(set, str) else [str(set)] if isinstance(set, Path) else list(set or ())
    asking = asking_of(start, control_tokens=control_tokens)
    with alone():
        found = answering.asked(one, typed, choice, named, least=least, asking=asking, session=session)
    return Found(found)


@public
def reproduce(
    pair: Models = None,
    *,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    n: int | None = None,
    template_args: Mapping[str, Any] | None = None,
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
) -> Report:
    """Every experiment of the paper on a pair, and the ledger that says line by line whether its findings hold.

    `n` samples of each experiment; None is as many as the paper has. An experiment that these models cannot have is
    shown as such.

    Raises BadUsage, BadValue, OneModel, NoEncoder, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> found = ld.reproduce(base="scripted:base", aligned="scripted:aligned", n=10)
    >>> list(found)[:3], found.verdicts[0].verdict
    (['ledger', 'personas', 'semantic'], 'not comparable')
    """
    session = current("reproduce")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    paper.check_n_of_all(n)
    choice, args = choice_of(pair, base, aligned, ladder), template_args_of(template_args)
    with alone():
        arms = choosing.resolve_choice(choice, session)
        words = choice.words()
        return Report(paper.reproduce(arms, drawing=drawing, session=session, n=n, template_args=args, words=words))


@public
def report(run: str = "last") -> Report:
    """A stored run again, by its id, the first characters of one, or "last"; of one cut short what is there.

    Nothing is drawn and no model is loaded, but by `diff`, which reads texts with the models, and by `decan` where what
    its scorer read is kept no more.

    Raises UnknownName, NoExperiment, StoreMissing and what else a store raises.

    >>> import llama_diversity as ld
    >>> found = ld.syntactic(base="scripted:base", aligned="scripted:aligned", n=4, max_tokens=8)
    >>> ld.report("last")["syntactic"].command == found.command
    True
    """
    with alone():
        return Report(paper.recall(run, current("report")))


@public
def variety(
    run: str = "last",
    *,
    valid: str | None = None,
    schema: str | Path | None = None,
    by: Literal["meaning", "text"] = "meaning",
) -> Found:
    """How varied are the outputs of a stored run, which can be used, and what does the next new one cost in tokens?

    `run` is named as in `report`, and may be of `Model.sample`. Usable is what `valid`, a regular expression, finds
    something in, and what is JSON of the `schema` in that file; without both what has text. `by`: outputs of one
    meaning are a kind, or equal texts.

    Raises BadValue, UnknownName, NoEncoder, StoreMissing and what else a store raises.

    >>> import llama_diversity as ld
    >>> some = ld.model("scripted:base").sample("She was", n=20)
    >>> found = ld.variety(valid="nurse", by="text")
    >>> found.to_dict()["cells"]["sample"]["valid"]["n"]
    20
    """
    session = current("variety")
    path = None if schema is None else Path(schema)
    with alone():
        return Found(judging.variety_of(run, session, valid=valid, schema=path, by=by))


@public
def methods(run: str = "last") -> Methods:
    """The methods section of a paper on a stored run, and BibTeX of what it cites; `print` shows the text.

    `run` is named as in `report`. No model is loaded: all comes from the run.

    Raises UnknownName, StoreMissing and what else a store raises.

    >>> import llama_diversity as ld
    >>> _ = ld.syntactic(base="scripted:base", aligned="scripted:aligned", n=4, max_tokens=8)
    >>> found = ld.methods()
    >>> found.text.split()[:3], found.bibtex.startswith("@")
    (['We', 'sampled', 'scripted:base'], True)
    """
    return methods_of(run, current("methods"))


# ---- what the functions share


def _of_models(called: str, study: Study, choice: Choice, drawing: Drawing) -> Found:
    """One study of a pair or ladder."""
    session = current(called)
    study.check_settings()  # before files of models are read
    with alone():
        arms = choosing.resolve_choice(choice, session)
        return Found(conduct.run(study, arms, drawing=drawing, session=session, words=choice.words()))


def choice_of(pair: Models, base: Model | str | None, aligned: Model | str | None, ladder: str | None = None) -> Choice:
    """The models that are meant, by reference. Raises BadUsage."""
    if pair is not None and not isinstance(pair, str):
        if base is not None or aligned is not None:
            raise BadUsage("Name the models once: by pair, or by base and aligned.")
        (base, aligned), pair = pair, None
    named = [None if one is None else reference_of(one) for one in (base, aligned)]
    return Choice(pair, named[0], named[1], ladder)


def _specs(arms: Mapping[str, AnyArm] | None, choice: Choice) -> tuple[ArmSpec, ...]:
    """The arms by name, or the raw models of a pair or ladder. Raises BadUsage, BadValue, UnknownName."""
    if arms is None:
        return tuple(ArmSpec(name, reference) for name, reference in choosing.named(choice))
    if any(choice):
        raise BadUsage("Name the arms one way: by arms, by pair, by base and aligned, or by ladder.")
    if len(arms) < 2:
        raise BadUsage('A comparison needs two arms or more: {"base": base, "aligned": aligned.chat()}.')
    return tuple(_spec(name, one) for name, one in arms.items())


def _spec(name: str, one: AnyArm) -> ArmSpec:
    if not name.strip() or "=" in name:
        raise BadValue("the name of an arm", name, "it must not be empty and have no “=”")
    if isinstance(one, str):
        return parse_arm(f"{name}={one}")
    return (as_arm(one) if isinstance(one, Model) else one).spec(name)


def _prompts(prompts: Sequence[str] | str | Path | None, set: str | None) -> Prompts | None:
    """What was named, and the options that name it; None for nothing. Raises BadUsage, BadValue."""
    if prompts is None:
        return None if set is None else reading.read_prompts((), None, set)
    if isinstance(prompts, Path):
        return reading.read_prompts((), str(prompts), set)
    if isinstance(prompts, str) and os.path.isfile(prompts):
        raise BadValue("prompts", prompts, f"a file has that name: Path({prompts!r}) reads it, a list means the words")
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise BadValue("prompts", prompts, "there is no prompt in it")
    return reading.read_prompts(texts, None, set)


def drawing_of(
    temperature: float, top_k: int, top_p: float, min_p: float, seed: int, asking: Asking, *more: float | None
) -> Drawing:
    """How tokens are drawn; `more`: the sampler's further fields, in order. Raises BadValue."""
    sampler = Sampler(temperature, top_k, top_p, min_p, *more)  # type: ignore[arg-type]  # the first may be None
    refuse_idle(sampler)
    return Drawing(sampler, seed, asking)


def asking_of(start: str, *, control_tokens: bool) -> Asking:
    """How a text becomes a prompt. Raises BadValue."""
    if not start:
        raise BadValue("start", start, "name what a text begins with, or none for nothing")
    return Asking(start, control_tokens)


def _doses(dose: int | Sequence[int]) -> tuple[int, ...]:
    doses = (dose,) if isinstance(dose, int) else tuple(dict.fromkeys(dose))
    if not doses or not all(1 <= one <= 1000 for one in doses):
        raise BadValue("dose", dose, "name numbers from 1 to 1000, like (1, 2, 4)")
    return doses

"""Models on servers through a fake one: what misbehaves ends in the same store, or in a sentence that says so."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading

import numpy as np
import pytest
from fake_vllm import COMPLETIONS, ROWS, Trouble, serving

import llama_diversity as ld
from llama_diversity import paths
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.bounds import bounds_of
from llama_diversity.engines.scripted import transition
from llama_diversity.engines.vllm import client
from llama_diversity.engines.vllm.stock import seed_of
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.records import BOUNDS_DTYPE, Recipe, Sampler
from llama_diversity.resolve import resolve_model
from llama_diversity.store import Store
from llama_diversity.studies.drawing import Drawing, plan_cell
from llama_diversity.studies.selfcheck import tallies

STOCK = EngineOptions(stock=True)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """What is tried again is tried at once, and not for long."""
    monkeypatch.setattr(client, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(client, "_LONGEST_WAIT_S", 0.01)
    monkeypatch.setitem(client.Cluster.__init__.__kwdefaults__, "patience_s", 0.5)


@pytest.fixture
def fake(tmp_path):
    with serving(tmp_path) as one:
        yield one


def cell_of(engine, model, *, n=12, max_tokens=12, seed=5, **sampler):
    prompt = engine.prompt("She was")
    drawing = Drawing(Sampler(**sampler), seed=seed)
    return plan_cell(
        engine, model, prompt, arm="a", n=n, max_tokens=max_tokens, drawing=drawing, layout=EngineOptions()
    )


def drawn(reference, options=STOCK, **asked):
    """All samples of a cell by index."""
    model = resolve_model(reference)
    engine = open_engine(model, options)
    try:
        cell = cell_of(engine, model, **asked)
        found = [sample for step in engine.sample(cell.recipe, range(cell.n)) for sample in step.finished]
    finally:
        engine.close()
    assert sorted(sample.index for sample in found) == list(range(cell.n))
    return sorted(found, key=lambda sample: sample.index)


def same(some, others):
    assert [(one.recipe_key, one.index, one.text, one.finish_reason) for one in some] == [
        (one.recipe_key, one.index, one.text, one.finish_reason) for one in others
    ]
    assert [one.tokens.tobytes() for one in some] == [one.tokens.tobytes() for one in others]


WAYS = pytest.mark.parametrize("options", [STOCK, EngineOptions()], ids=["stock", "plugin"])


# ---- what is drawn


def test_with_the_plugin_samples_are_the_scripted_engines_own(fake):
    scripted = resolve_model("scripted:base")
    engine = open_engine(scripted, EngineOptions())
    served = drawn(fake.reference, EngineOptions())
    recipe = dataclasses.replace(cell_of(engine, scripted).recipe, seed=5)
    own = {one.index: one for step in engine.sample(recipe, range(12)) for one in step.finished}
    for one in served:
        assert one.text == own[one.index].text
        for name in ("id", "rank", "surprisal_bits", "entropy_bits", "top_ids"):
            assert np.array_equal(one.tokens[name], own[one.index].tokens[name])


def test_statistics_of_a_stock_server_are_those_of_the_chain(fake):
    rows = transition("base")
    engine = open_engine(resolve_model("scripted:base"), EngineOptions())
    prompt = engine.tokenize("She was")
    for sample in drawn(fake.reference):
        ids = sample.tokens["id"].tolist()
        exact = engine.score((*prompt, *ids))[len(prompt) :]
        assert np.allclose(sample.tokens["surprisal_bits"], exact["surprisal_bits"], atol=1e-5)
        assert np.array_equal(sample.tokens["rank"] <= 5, exact["rank"] <= 5)
        untied = [
            np.count_nonzero(np.isclose(rows[last], rows[last][token], rtol=1e-6)) == 1
            for last, token in zip([prompt[-1], *ids[:-1]], ids, strict=True)
        ]
        assert np.array_equal(sample.tokens["rank"][untied], exact["rank"][untied])
        assert np.allclose(sample.tokens["top_surprisals_bits"], exact["top_surprisals_bits"], atol=1e-5)
        assert np.isnan(sample.tokens["entropy_bits"]).all()
        assert np.isnan(sample.tokens["sampler_entropy_bits"]).all()
        assert np.array_equal(sample.tokens["sampler_surprisal_bits"], sample.tokens["surprisal_bits"])


def test_one_request_is_one_sample_with_a_seed_of_its_own_and_every_field(fake):
    drawn(fake.reference, n=3)
    asked = [body for path, body in fake.asked if path == COMPLETIONS and body["seed"] not in (None, 1)]
    assert len(asked) == 3
    assert len({body["seed"] for body in asked}) == 3
    assert all(body["n"] == 1 and 0 <= body["seed"] < 2**63 for body in asked)
    for name, value in {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "repetition_penalty": 1.0, "watermarking": False, "ignore_eos": True, "min_tokens": 0, "max_tokens": 12,
        "stop": [], "add_special_tokens": False,
    }.items():  # fmt: skip
        assert [body[name] for body in asked] == [value] * 3, name
    assert all(isinstance(token, int) for body in asked for token in body["prompt"])
    assert not any("She" in str(body) for _, body in fake.asked)


def test_a_seed_is_of_recipe_and_index(fake):
    model = resolve_model(fake.reference)
    engine = open_engine(model, STOCK)
    recipe = cell_of(engine, model).recipe
    other = dataclasses.replace(recipe, seed=6)
    seeds = {seed_of(one, index) for one in (recipe, other) for index in range(100)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    engine.close()


@WAYS
def test_scores_are_the_chains(fake, options):
    engine = open_engine(resolve_model(fake.reference), options)
    exact = open_engine(resolve_model("scripted:base"), EngineOptions())
    ids = exact.tokenize("She was a quiet nurse. ")
    found, expected = engine.score(ids), exact.score(ids)
    assert np.allclose(found["surprisal_bits"][1:], expected["surprisal_bits"][1:], atol=1e-5)
    assert np.isnan(found["surprisal_bits"][0])
    assert np.array_equal(found["rank"], expected["rank"])
    assert np.isnan(found["entropy_bits"][1:]).all() == bool(options.stock)
    engine.close()


# ---- samplers


@pytest.mark.parametrize(
    ("sampler", "reason"),
    [
        ({"temperature": 0.005}, "vLLM draws it as at 0.01"),
        ({"temperature": 2.5}, "vLLM draws it not at all"),
        ({"min_p": 0.1, "top_k": 5}, "vLLM cuts by it before top-k and top-p"),
        ({"min_p": 0.1, "top_p": 0.9}, "vLLM cuts by it before top-k and top-p"),
        ({"xtc_probability": 0.5}, "--xtc-probability is 0.5; a vLLM server without llamadiv's plugin has no such"),
        ({"top_n_sigma": 1.0}, "--top-n-sigma is 1.0"),
        ({"temperature": 1.0, "dynatemp_range": 0.5}, "--dynatemp-range is 0.5"),
        ({"first_temperature": 2.0}, "--first-temperature is 2.0"),
    ],
)
def test_what_a_stock_server_cannot_draw_is_refused(fake, sampler, reason):
    with pytest.raises(BadValue, match=reason):
        drawn(fake.reference, **sampler)


@pytest.mark.parametrize("sampler", [{"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.1}])
def test_other_samplers_are_drawn_with_and_their_own_law_is_not_known(fake, sampler):
    samples = drawn(fake.reference, **sampler)
    assert np.isnan(np.concatenate([one.tokens["sampler_surprisal_bits"] for one in samples])).all()
    [asked, *_] = [body for path, body in fake.asked if path == COMPLETIONS and body["seed"] not in (None, 1)]
    assert {name: asked[name] for name in sampler} == sampler


def test_greedy_is_one_token_with_certainty(fake):
    one, other = drawn(fake.reference, n=2, temperature=0.0)
    assert one.text == other.text
    assert (one.tokens["sampler_surprisal_bits"] == 0).all()
    assert (one.tokens["sampler_entropy_bits"] == 0).all()


# ---- misbehaviour that passes


PASSING = {
    "503": Trouble(times=5, status=503),
    "429 in the middle": Trouble(times=3, after=4, status=429),
    "a stream that is cut": Trouble(times=4, cut=True),
    "an error within a 200": Trouble(times=4, error=True),
}


@WAYS
@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING.keys())
def test_what_passes_leaves_the_same_samples(tmp_path, options, trouble):
    with serving(tmp_path) as calm, serving(tmp_path, trouble=trouble) as troubled:
        same(drawn(troubled.reference, options), drawn(calm.reference, options))


def drop_choice(answer):
    answer["choices"] = []


def drop_logprobs(answer):
    answer["choices"][0]["logprobs"] = None


def other_ids(answer):
    answer["choices"][0]["token_ids"] = [token ^ 1 for token in answer["choices"][0]["token_ids"]]


def abort(answer):
    answer["choices"][0]["finish_reason"] = "abort"


SPOILT = {
    "no choice": drop_choice,
    "rows missing": drop_logprobs,
    "other ids than its rows": other_ids,
    "given up": abort,
}


@WAYS
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_an_answer_that_is_not_whole_is_asked_for_again(tmp_path, options, spoil):
    with serving(tmp_path) as calm, serving(tmp_path, trouble=Trouble(times=3, spoil=spoil)) as troubled:
        same(drawn(troubled.reference, options), drawn(calm.reference, options))


def fewer_likeliest(answer):
    for row in answer["choices"][0]["logprobs"]["top_logprobs"]:
        del row[min(row, key=row.get)]


def test_fewer_of_the_likeliest_are_asked_for_again(tmp_path):
    with serving(tmp_path) as calm, serving(tmp_path, trouble=Trouble(times=3, spoil=fewer_likeliest)) as troubled:
        same(drawn(troubled.reference), drawn(calm.reference))


def test_rows_that_the_plugin_lost_are_drawn_again(tmp_path):
    with serving(tmp_path) as calm, serving(tmp_path) as troubled:
        troubled.trouble = Trouble(times=2, status=409, paths=(ROWS,))
        expected = drawn(calm.reference, EngineOptions())
        same(drawn(troubled.reference, EngineOptions()), expected)


def test_a_server_that_is_started_anew_goes_on(tmp_path):
    with serving(tmp_path) as calm, serving(tmp_path) as troubled:
        troubled.trouble = Trouble(times=1, after=3, before=troubled.restart)
        same(drawn(troubled.reference, EngineOptions()), drawn(calm.reference, EngineOptions()))


@WAYS
def test_a_slow_server_is_waited_for(tmp_path, options):
    """The first request is answered when all others have been: nothing depends on their order."""
    others, lock, n_seen = threading.Event(), threading.Lock(), [0]

    def wait() -> None:
        with lock:
            n_seen[0] += 1
            number = n_seen[0]
        if number == 1:
            others.wait(timeout=20)
        elif number == 6:
            others.set()

    with serving(tmp_path) as calm, serving(tmp_path, trouble=Trouble(before=wait)) as slow:
        same(drawn(slow.reference, options), drawn(calm.reference, options))


@WAYS
def test_a_server_that_dies_leaves_its_samples_to_the_other(tmp_path, options):
    with serving(tmp_path) as calm, serving(tmp_path) as one, serving(tmp_path) as other:
        both = f"vllm:{one.url},{other.url}/scripted@{one.words}"
        expected = drawn(calm.reference, options)
        one.trouble = Trouble(after=2, before=other.close, times=1)
        same(drawn(both, options), expected)


# ---- misbehaviour that ends in a sentence


@WAYS
def test_a_sample_that_is_cut_without_a_word_is_said_to_be(fake, options):
    fake.clamp = 4
    with pytest.raises(
        EngineError, match=r"cut a sample at \d of 12 tokens without a word|ends after \d tokens for no"
    ):
        drawn(fake.reference, options)


@WAYS
def test_log_probabilities_behind_the_sampler_are_refused(fake, options):
    fake.is_processed = True
    with pytest.raises(EngineError, match="tells log probabilities behind its sampler. Start it with --logprobs-mode"):
        drawn(fake.reference, options)


def test_a_server_that_ignores_seeds_is_refused(fake):
    fake.is_seedless = True
    with pytest.raises(EngineError, match="it ignores seeds, so no sample could be drawn again"):
        drawn(fake.reference)


def never(answer):
    said = answer["choices"][0]["logprobs"]
    token = said["tokens"][0]
    said["token_logprobs"][0] = said["top_logprobs"][0][token] = -9999.0


def certain(answer):
    said = answer["choices"][0]["logprobs"]
    said["top_logprobs"][0] = dict.fromkeys(said["top_logprobs"][0], -0.1)
    said["token_logprobs"][0] = -0.1


def ended_otherwise(answer):
    choice = answer["choices"][0]
    choice["finish_reason"] = "stop"
    keep = 1
    choice["token_ids"] = choice["token_ids"][:keep]
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        choice["logprobs"][name] = choice["logprobs"][name][:keep]


def other_prompt(answer):
    answer["choices"][0]["prompt_token_ids"] = [0, *answer["choices"][0]["prompt_token_ids"]]


SAID = {
    "-9999": (never, "says that its probability is 0"),
    "more than 1": (certain, r"probabilities of single tokens add up to \d\.\d+, more than 1"),
    "another end": (ended_otherwise, r"ended a sample at token \d+, which ends none"),
    "another prompt": (other_prompt, "something between it and llamadiv changes what is asked"),
}


@pytest.mark.parametrize(("spoil", "sentence"), SAID.values(), ids=SAID.keys())
def test_what_cannot_be_is_said(tmp_path, spoil, sentence):
    with (
        serving(tmp_path, trouble=Trouble(spoil=spoil)) as fake,
        pytest.raises(EngineError, match=sentence),
    ):
        drawn(fake.reference)


def test_what_a_server_refuses_is_said_in_its_words(tmp_path):
    with serving(tmp_path, key="secret") as fake, pytest.raises(EngineError, match="refuses the key") as refused:
        drawn(fake.reference)
    assert "secret" not in str(refused.value)


def test_the_key_of_the_environment_is_sent_and_kept_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMADIV_VLLM_KEY", "s3cr3t")
    with serving(tmp_path, key="s3cr3t") as fake, ld.session(store=tmp_path / "s.sqlite", stock=True):
        ld.model(fake.reference).sample("She was", n=2, max_tokens=4)
    assert {headers["Authorization"] for headers in fake.headers} == {"Bearer s3cr3t"}
    assert all(b"s3cr3t" not in file.read_bytes() for file in tmp_path.glob("s.sqlite*"))


def test_offline_keeps_nobody_from_a_server_that_was_named(run, tmp_path, fake):
    options = ("-p", "She was", "-n", 2, "--max-tokens", 4, "--store", tmp_path / "s.sqlite", "--stock")
    assert run("sample", "-m", fake.reference, "--offline", *options)[0] == 0


def test_python_samples_as_the_command_line_does(run, tmp_path, fake):
    options = ("-p", "She was", "-n", 3, "--max-tokens", 4, "--seed", 2, "--stock", "--json")
    typed = run("sample", "-m", fake.reference, *options, "--store", tmp_path / "a.sqlite")[1]
    with ld.session(store=tmp_path / "b.sqlite", stock=True):
        some = ld.model(fake.reference).sample("She was", n=3, max_tokens=4, seed=2)
    assert [json.loads(line)["text"] for line in typed.splitlines()] == list(some.texts)


def test_a_name_that_is_not_served_names_those_that_are(fake):
    with pytest.raises(EngineError, match="serves no model called other, but scripted"):
        drawn(f"vllm:{fake.url}/other@{fake.words}")


def test_another_vocabulary_is_refused(tmp_path, fake):
    with serving(tmp_path, "people") as other, pytest.raises(EngineError, match="another vocabulary"):
        drawn(f"vllm:{fake.url}/scripted@{other.words}")


# ---- two servers under one name


DIFFERENT = {
    "weights": ({"lowers": 1.0}, "the digest of the weights|their log probabilities of one text differ"),
    "versions": ({"version": "0.31.0", "fingerprint": "vllm-0.31.0-e5539b05"}, "the version of vLLM is 0.32.0"),
    "dtypes": ({"dtype": "bfloat16", "fingerprint": "vllm-0.32.0-00000000"}, "dtype is float32|settings is vllm-0.32"),
    "contexts": ({"n_ctx": 256}, "the longest context"),
}


@WAYS
@pytest.mark.parametrize(("named", "sentence"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_two_servers_that_differ_are_refused_by_name(tmp_path, fake, options, named, sentence):
    with serving(tmp_path, **named) as other, pytest.raises(EngineError, match=sentence) as refused:
        drawn(f"vllm:{fake.url},{other.url}/scripted@{fake.words}", options)
    assert fake.url in str(refused.value)
    assert other.url in str(refused.value)
    assert "two models as scripted" in str(refused.value)


def test_without_a_digest_other_weights_are_other_samples(tmp_path, fake):
    with serving(tmp_path, "aligned") as other:
        base, aligned, again = (open_engine(resolve_model(one.reference), STOCK) for one in (fake, other, fake))
        assert base.facts.digest != aligned.facts.digest
        assert any("no plugin states a digest" in note for note in base.facts.notes)
        assert (again.facts.digest, again.build) == (base.facts.digest, base.build)
        for engine in (base, aligned, again):
            engine.close()


# ---- does it draw from what it tells


def said_by(run, reference, store, *arguments, n=1200):
    options = ("--stock", "-p", "She was", "-n", n, "--max-tokens", 32, "-q", "--store", store)
    code, _, said = run("sample", "-m", reference, *options, *arguments)
    assert code == 0
    return said


def test_a_hidden_temperature_is_found_out(run, tmp_path):
    with serving(tmp_path, heat=0.95) as cold, serving(tmp_path) as honest:
        said = said_by(run, cold.reference, tmp_path / "cold.sqlite")
        assert f"{cold.reference}: the server does not draw from the probabilities that it tells" in said
        assert "does not draw" not in said_by(run, honest.reference, tmp_path / "honest.sqlite", n=300)
        # What is stored is looked at again; what was drawn at a temperature tells nothing of the raw distribution.
        assert "does not draw" in said_by(run, honest.reference, tmp_path / "cold.sqlite")
        warm = said_by(run, cold.reference, tmp_path / "warm.sqlite", "--temperature", 0.8, n=20)
        assert "does not draw" not in warm


def z_of(engine, model, seed):
    recipe = cell_of(engine, model, seed=seed).recipe
    steps = engine.sample(recipe, range(12))
    return [one.z for one in tallies(np.concatenate([one.tokens for step in steps for one in step.finished]))]


def test_tallies_of_honest_draws_are_standard_normal(tmp_path):
    with serving(tmp_path) as fake:
        found = np.array(
            [
                [
                    tally.z
                    for tally in tallies(np.concatenate([one.tokens for one in drawn(fake.reference, n=40, seed=seed)]))
                ]
                for seed in range(24)
            ]
        )
    assert (np.abs(found.mean(axis=0)) < 4 / np.sqrt(24)).all()
    assert (found.std(axis=0) < 1.7).all()
    assert (found.std(axis=0) > 0.5).all()


# ---- bounds


def test_bounds_hold_the_true_entropy_and_narrow_with_k(fake):
    fake.most_logprobs = 300
    exact = open_engine(resolve_model("scripted:base"), EngineOptions())
    prompt = exact.tokenize("She was")
    widths = []
    for k in (5, 8, 200):
        samples = drawn(fake.reference, EngineOptions(stock=True, bounds=k), n=4)
        for one in samples:
            true = exact.score((*prompt, *one.tokens["id"].tolist()))["entropy_bits"][len(prompt) :]
            assert (one.bounds["least_entropy_bits"] <= true + 1e-4).all()
            assert (one.bounds["most_entropy_bits"] >= true - 1e-4).all()
        width = [one.bounds["most_entropy_bits"] - one.bounds["least_entropy_bits"] for one in samples]
        widths.append(float(np.concatenate(width).mean()))
    assert widths[0] > widths[1] > 0.01
    assert abs(widths[2]) < 1e-4  # all that is left is equally likely


def test_bounds_are_kept(tmp_path, fake):
    with ld.session(store=tmp_path / "s.sqlite", stock=True, bounds=9):
        ld.model(fake.reference).sample("She was", n=2, max_tokens=4, seed=5)
    expected = drawn(fake.reference, EngineOptions(stock=True, bounds=9), n=2, max_tokens=4)
    with Store.open(tmp_path / "s.sqlite", read_only=True) as store:
        for one in expected:
            kept = store.sample(one.recipe_key, one.index)
            assert kept.bounds.dtype == BOUNDS_DTYPE
            assert kept.bounds.tobytes() == one.bounds.tobytes()
            assert kept.tokens.tobytes() == one.tokens.tobytes()


def test_more_bounds_than_the_server_tells_are_refused_with_its_option(fake):
    with pytest.raises(BadValue, match=r"--bounds is 50; .*greater than max allowed: 20.*--max-logprobs 50"):
        drawn(fake.reference, EngineOptions(stock=True, bounds=50))


def test_bounds_by_hand():
    assert bounds_of([0.5, 0.25], largest=0.25, n_vocab=4) == (1.5, 1.75)  # 0.25 on one token, or on two
    assert bounds_of([1.0], largest=1.0, n_vocab=9) == (0.0, 0.0)
    assert bounds_of([0.5, 0.5], largest=0.5, n_vocab=2) == (1.0, 1.0)


def test_what_a_recipe_says_of_stock_opens_it_again(fake):
    model = resolve_model(fake.reference)
    for options in (STOCK, EngineOptions(stock=True, bounds=9), EngineOptions()):
        engine = open_engine(model, options)
        assert EngineOptions.of(cell_of(engine, model).recipe) == options
        engine.close()


# ---- studies


def test_studies_say_what_a_stock_server_does_not_tell(run, tmp_path, fake):
    with serving(tmp_path, "aligned", name="other") as other:
        pair = ("--base", fake.reference, "--aligned", other.reference, "--stock", "--store", tmp_path / "s.sqlite")
        compared = run("compare", *pair, "-n", 20, "--max-tokens", 8, "-p", "She was", "--json")
        assert compared[0] == 0, compared[2]
        assert "A server without llamadiv's plugin (--stock) tells none" in compared[1]
        assert "NaN" not in compared[1]
        code, _, said = run("syntactic", *pair, "-n", 20)
        assert (code, "is drawn on a server that tells no entropies (--stock)" in said) == (2, True), said
        assert not any(Recipe.from_json(one).prompt.text.startswith("Steve") for one in recipes(tmp_path / "s.sqlite"))
        for command in (("diff",), ("tree",)):
            code, _, said = run(*command, *pair, "-p", "She was")
            assert code == 1
            assert "server" in said or "does not tell the probability of every token" in said
            assert "Traceback" not in said


def recipes(path):
    with contextlib.closing(sqlite3.connect(path)) as opened:
        return [row[0] for row in opened.execute("SELECT canonical FROM recipes")]


# ---- doctor, models verify


@WAYS
def test_doctor_says_what_a_server_can_do(run, tmp_path, options):
    with serving(tmp_path, plugin=not options.stock) as fake:
        code, said, _ = run("doctor", fake.reference)
        assert code == 0
        assert ("without llamadiv's plugin (--stock)" in said.replace("\n", " ")) == bool(options.stock)
        assert "A vLLM server with" in said.replace("\n", " ") or options.stock
        told = json.loads(run("doctor", fake.reference, "--json")[1])
        assert (told["noise"], told["chosen"], "server" in told) == (None, "bos", True)
        assert told["starts"]["bos"]["total_bits"] > 0


def test_verify_compares_the_digest_that_a_plugin_tells(run, tmp_path, fake):
    path = paths.user_registry()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = f'[models.big]\nengine = "vllm"\nurls = ["{fake.url}"]\nname = "scripted"\ntokenizer = "{fake.words}"\n'
    path.write_text(entry)
    [found] = json.loads(run("models", "verify", "big", "--json")[1])["files"]
    assert (found["state"], len(found["sha256"])) == ("nothing to compare", 64)
    path.write_text(f'{entry}digest = "{found["sha256"]}"\n')
    assert run("models", "verify", "big")[0] == 0
    path.write_text(f'{entry}digest = "{"0" * 64}"\n')
    code, _, said = run("models", "verify", "big")
    assert code == 1
    assert "but models.toml states" in said
    with pytest.raises(EngineError, match="but models.toml states 0000"):
        drawn("big", EngineOptions())

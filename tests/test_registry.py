"""The table of models: what the packaged one promises, how the user's lies over it, and every way it can be wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llama_diversity import paths, registry
from llama_diversity.engines.chat import Chat
from llama_diversity.errors import BadValue, ModelFileError, RegistryError, TemplateError, UnknownName

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def user_table():
    """Write the user's models.toml."""

    def write(text: str | bytes) -> Path:
        path = paths.user_registry()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# --- The packaged table ----------------------------------------------------------------------------------------------


def test_llama_2_is_pinned():
    known = registry.load()
    chat = known.find("llama-2-7b-chat")
    assert (chat.repo, chat.file) == ("TheBloke/Llama-2-7B-Chat-GGUF", "llama-2-7b-chat.Q4_K_M.gguf")
    assert chat.revision == "191239b3e26b2882fb562ffccdd1cf0f65402adb"
    assert chat.sha256 == "08a5566d61d7cb6b420c3e4387a39e0078e1f2fe5f055f3a03887385304d4bfa"
    assert chat.size_bytes == 4081004224
    assert known.find("llama-2-7b").revision == "b4e04e128f421c93a5f1e34ac4d7ca9b0af47b80"
    assert known.pair("llama-2-7b") == registry.Pair("llama-2-7b", "llama-2-7b", "llama-2-7b-chat")


PINNED = {
    "smollm3-3b": (
        "ggml-org/SmolLM3-3B-GGUF",
        "SmolLM3-Q4_K_M.gguf",
        "4965cb60b150737b68a0408c36aeefb65078f894",
        "8334b850b7bd46238c16b0c550df2138f0889bf433809008cc17a8b05761863e",
        1915305312,
    ),
    "apertus-8b-base": (
        "mradermacher/Apertus-8B-2509-GGUF",
        "Apertus-8B-2509.Q4_K_M.gguf",
        "5d93e9d75f9907ccc3e89ce5c3ffc7fb1eb35ed4",
        "9bc93ce242f34f0b1527563627d75efa6401572046d9d9a3d26f6d7125a89d22",
        None,
    ),
    "qwen3.5-0.8b-base": (
        "ggml-org/Qwen3.5-0.8B-Base-GGUF",
        "Qwen3.5-0.8B-Base-Q8_0.gguf",
        "f78a2c518573cedd5585e5e368a6e1844d2ebbda",
        "02fbcf13dd07601e5801cdef73ace47426c422742fa68fd0c607a8b88eea0790",
        833591872,
    ),
}


@pytest.mark.parametrize(("alias", "pinned"), PINNED.items(), ids=PINNED.keys())
def test_what_a_document_states_is_pinned(alias, pinned):
    entry = registry.load().find(alias)
    assert (entry.repo, entry.file, entry.revision, entry.sha256, entry.size_bytes) == pinned


def test_every_pair_joins_a_base_with_an_aligned_model_of_its_family_in_one_quantisation():
    known = registry.load()
    for pair in known.pairs.values():
        base, aligned = known.find(pair.base), known.find(pair.aligned)
        assert (base.role, aligned.role) == ("base", "aligned"), pair
        assert base.family == aligned.family, pair
        assert base.licence == aligned.licence, pair
        assert quantisation(base) == quantisation(aligned), pair


def test_a_ladder_climbs_from_base_to_aligned():
    known = registry.load()
    rungs = [known.find(rung) for rung in known.ladder("olmo-2-7b").rungs]
    assert [rung.role for rung in rungs] == ["base", "sft", "dpo", "aligned"]
    assert len({quantisation(rung) for rung in rungs}) == 1


def quantisation(entry: registry.ModelEntry) -> str | None:
    match = re.search(r"Q\d\w*(?=\.gguf)", entry.file or "")
    return match and match[0]


def test_every_model_says_role_family_and_licence_and_pins_whole_commits():
    for entry in registry.load().models.values():
        assert entry.role, entry
        assert entry.family, entry
        assert entry.licence, entry
        assert entry.revision is None or re.fullmatch(r"[0-9a-f]{40}", entry.revision), entry


def test_the_scripted_pair_needs_no_file():
    known = registry.load()
    base, aligned = (known.find(one) for one in (known.pair("scripted").base, known.pair("scripted").aligned))
    assert (base.chain, aligned.chain) == ("base", "aligned")
    assert base.path is base.repo is aligned.path is aligned.repo is None
    assert {"scripted:base", "scripted:aligned"} <= {entry.reference for entry in known.entries()}


def test_an_installed_package_reads_the_table_inside_it(tmp_path):
    package = tmp_path / "llama_diversity"
    package.mkdir()
    shutil.copytree(CHECKOUT / "llama_diversity/data", package / "data")
    shutil.copytree(CHECKOUT / "llama_diversity/neighbours", package / "neighbours")
    for name in ("__init__", "decimals", "errors", "gguf", "mixtures", "paths", "registry", "served"):
        shutil.copy(CHECKOUT / f"llama_diversity/{name}.py", package)
    (package / "data/models.toml").write_text('[models.inside]\nrepo = "o/r"\nfile = "f.gguf"\n')
    script = "from llama_diversity import registry; print(*registry.load().models)"
    command = [sys.executable, "-P", "-c", script] if sys.version_info >= (3, 11) else [sys.executable, "-c", script]
    result = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "inside\n", result.stderr


def test_the_example_of_the_guide_is_a_valid_table(user_table):
    (example,) = re.findall(r"```toml\n(.*?)```", (CHECKOUT / "docs/models.md").read_text("utf-8"), re.DOTALL)
    user_table(example)
    assert registry.load().pair("my-model-0.5b-pair").base == "my-model-0.5b"


# --- References ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "repo", "file", "revision"),
    [
        ("hf:org/repo:m.gguf", "org/repo", "m.gguf", None),
        ("hf:org/repo:m.gguf@v1.2", "org/repo", "m.gguf", "v1.2"),
        ("hf:org/re.po-1:folder/m.Q4_K_M.gguf@refs/pr/3", "org/re.po-1", "folder/m.Q4_K_M.gguf", "refs/pr/3"),
    ],
)
def test_a_hub_reference(reference, repo, file, revision):
    entry = registry.load().find(reference)
    assert (entry.reference, entry.repo, entry.file, entry.revision) == (reference, repo, file, revision)


@pytest.mark.parametrize(
    "reference",
    [
        "hf:",
        "hf:repo:m.gguf",
        "hf:org/repo",
        "hf:org/repo:",
        "hf:org/repo:m.gguf@",
        "hf:org/repo:m.gguf@a@b",
        "hf:org/repo:a b.gguf",
        "hf:org/repo:../m.gguf",
        "hf:org/repo:/m.gguf",
        "hf:or--g/repo:m.gguf",
        "hf:org/..:m.gguf",
        "scripted:",
        "https://huggingface.co/org/repo/resolve/main/m.gguf",
    ],
)
def test_a_malformed_reference_says_the_form(reference):
    with pytest.raises(BadValue, match="it must look like (hf:OWNER/REPO:FILE|scripted:NAME)"):
        registry.load().find(reference)


def test_a_path_is_a_reference(tmp_path, monkeypatch):
    (tmp_path / "m.gguf").write_bytes(b"x")
    (tmp_path / "plain").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    known = registry.load()
    for reference in (str(tmp_path / "m.gguf"), "m.gguf", "./m.gguf", "~/m.gguf", "plain"):
        entry = known.find(reference)
        assert entry.path is not None
        assert entry.path.read_bytes() == b"x"
        assert entry.reference == reference


@pytest.mark.parametrize("reference", ["gone.gguf", "gone.GGUF", "./gone", f"folder{os.sep}gone", "~nobody/gone"])
def test_what_looks_like_a_path_but_is_none(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match=r"there is no such file\. Check the path; `llamadiv models ls`"):
        registry.load().find(reference)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(ModelFileError, match="this is a folder. Name the GGUF file inside it."):
        registry.load().find(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("find", "llama-2-7b-cht", "llama-2-7b-chat"),
        ("pair", "lama-2-7b", "llama-2-7b"),
        ("ladder", "olmo-2", "olmo-2-7b"),
    ],
)
def test_an_unknown_name_suggests_near_ones(kind, name, near):
    with pytest.raises(UnknownName, match=f"Did you mean .*{near}.*`llamadiv models ls` lists them"):
        getattr(registry.load(), kind)(name)


def test_a_name_like_nothing_suggests_nothing():
    with pytest.raises(UnknownName, match=r"^There is no model called 'zzzz'\. `llamadiv models ls` lists them\.$"):
        registry.load().find("zzzz")


# --- The user's table ------------------------------------------------------------------------------------------------


def test_the_users_table_lies_over_the_packaged_one(user_table, tmp_path):
    path = user_table(
        f"""
        [models.llama-2-7b]
        path = "{(tmp_path / "own.gguf").as_posix()}"

        [models."mine-0.5"]
        repo = "me/mine"
        file = "mine.gguf"
        n_ctx = 128

        [pairs.mine]
        base = "mine-0.5"
        aligned = "llama-2-7b-chat"

        [ladders.mine]
        rungs = ["mine-0.5", "hf:me/mine:sft.gguf", "scripted:aligned", "./later.gguf"]
        """
    )
    known = registry.load()
    assert known.find("llama-2-7b").path == tmp_path / "own.gguf"
    assert known.find("llama-2-7b").repo is None  # the whole entry is replaced, not single fields
    assert known.find("mine-0.5").n_ctx == 128
    assert known.find("mine-0.5").defined_in == path
    assert known.pair("mine").aligned == "llama-2-7b-chat"
    assert known.pair("llama-2-7b").aligned == "llama-2-7b-chat"
    assert len(known.ladder("mine").rungs) == 4
    assert {"hf:me/mine:sft.gguf", "./later.gguf"} <= {entry.reference for entry in known.entries()}


def test_a_relative_path_starts_at_the_table(user_table):
    path = user_table('[models.mine]\npath = "files/m.gguf"\n')
    assert registry.load().find("mine").path == path.parent / "files/m.gguf"


MODEL = '[models.a]\nrepo = "o/r"\nfile = "f"\n'
MALFORMED = {  # text -> the line, and the reason in it
    "no TOML": ("[models.a]\nrepo = \n", 2, "invalid value"),
    "an unclosed string": ('[models.a]\n\nrepo = "o\n', 3, "illegal character"),
    "an unclosed list": ("[ladders.a]\nrungs = [\n", 2, "invalid value|unclosed"),
    "a key twice": (MODEL + 'file = "g"\n', 4, "cannot overwrite a value"),
    "no UTF-8": (b"[models.a]\n# \xff\n", 2, "this is not UTF-8 text"),
    "an unknown table": (MODEL + "[model.b]\n", 4, r"'model' is no table of a models.toml \(did you mean models\?\)"),
    "a value for a table": ("models = 3\n", 1, r"'models' must be a table: write \[models.NAME\]"),
    "a value for a model": ("[models]\na = 3\n", 2, r"models.a must be a table: write \[models.a\]"),
    "an unknown field": (MODEL + 'licens = "mit"\n', 4, r"models have no field 'licens' \(did you mean licence"),
    "a field like nothing": (MODEL + "zzzz = 1\n", 4, "models have no field 'zzzz'"),
    "a number for a text": (MODEL + "\nrole = 3\n", 5, "role is 3; it must be a text in quotes"),
    "a text for a number": (MODEL + 'n_ctx = "8"\n', 4, "n_ctx is '8'; it must be a whole number"),
    "a truth for a number": (MODEL + "n_ctx = true\n", 4, "n_ctx is True; it must be a whole number"),
    "a fraction": (MODEL + "size_bytes = 1.5\n", 4, "size_bytes is 1.5; it must be a whole number"),
    "thousands of digits": (MODEL + f"size_bytes = {'9' * 5000}\n", 4, "this number has thousands of digits"),
    "no bytes": (MODEL + "size_bytes = 0\n", 4, "size_bytes is 0; it must be a positive number"),
    "an empty text": (MODEL + 'family = " "\n', 4, "family is empty"),
    "an unknown role": (MODEL + 'role = "chat"\n', 4, "role is 'chat'; it must be one of base, sft, dpo, aligned"),
    "a short sha256": (MODEL + 'sha256 = "abc"\n', 4, "sha256 is 'abc'; it must be 64 hexadecimal digits"),
    "a capital sha256": (MODEL + f'sha256 = "{"A" * 64}"\n', 4, "in lower case"),
    "no owner": ('[models.a]\nrepo = "r"\nfile = "f"\n', 2, "repo is 'r'; it must be OWNER/NAME"),
    "a file outside": ('[models.a]\nrepo = "o/r"\nfile = "../f"\n', 3, "it must be a path inside the repository"),
    "no file": ('# x\n[models.a]\nrepo = "o/r"\n', 2, "models.a has no file: it needs repo and file, or a path"),
    "no source": ("\n\n[models.a]\n", 3, "models.a has no repo"),
    "two sources": (MODEL + 'path = "x"\n', 4, "a model has either a path or repo and file, not both"),
    "a dot without quotes": ('[models.a-0.5b]\nrepo = "o/r"\n', 1, r'needs quotes: \[models."a-0.5b"\]'),
    "a name that is a path": ('[models."a/b"]\nrepo = "o/r"\n', 1, "'a/b' cannot be a name"),
    "a name that is a file": ('[models."a.gguf"]\nrepo = "o/r"\n', 1, "'a.gguf' cannot be a name"),
    "half a pair": (MODEL + '[pairs.p]\nbase = "a"\n', 4, "pairs.p has no aligned"),
    "an unknown member": (
        MODEL + '[pairs.p]\nbase = "a"\naligned = "llama-2-7b-cat"\n',
        6,
        r"aligned names 'llama-2-7b-cat', which is no model here \(did you mean llama-2-7b-chat",
    ),
    "a malformed member": (MODEL + '[pairs.p]\naligned = "a"\nbase = "hf:o/r"\n', 6, "base is 'hf:o/r'; it must look"),
    "a field of a pair": (MODEL + '[pairs.p]\nbase = "a"\nalign = "a"\n', 6, r"'align' \(did you mean aligned\?\)"),
    "one rung": (MODEL + '[ladders.l]\nrungs = ["a"]\n', 5, "ladders.l needs at least two rungs"),
    "no rungs": (MODEL + "[ladders.l]\n", 4, "ladders.l needs at least two rungs"),
    "a text for rungs": (MODEL + '[ladders.l]\nrungs = "a"\n', 5, "rungs is 'a'; it must be a list"),
    "a number as a rung": (MODEL + '[ladders.l]\nrungs = ["a", 2]\n', 5, "rungs names 2; it must name a model"),
    "an unknown rung": (MODEL + '[ladders.l]\nrungs = [\n  "a",\n  "b",\n]\n', 5, "rungs names 'b', which is no model"),
    "dotted keys": ('models.a.repo = "o/r"\nmodels.a.file = "f"\nmodels.a.rle = "x"\n', 3, "no field 'rle'"),
    "an inline table": ('[models]\na = {repo = "o/r", file = "f", role = "x"}\n', 2, "role is 'x'"),
}


@pytest.mark.parametrize(("text", "line", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_table_says_file_line_and_reason(text, line, reason, user_table):
    path = user_table(text)
    with pytest.raises(RegistryError, match=reason) as caught:
        registry.load()
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert str(caught.value).endswith(". Correct that line, then run the command again.")


def test_a_table_that_is_a_folder():
    paths.user_registry().mkdir(parents=True)
    with pytest.raises(RegistryError, match="it cannot be read .*Check the file and its permissions"):
        registry.load()


# --- Adding ----------------------------------------------------------------------------------------------------------

FIELDS = {"repo": "o/r", "file": "m.gguf", "n_ctx": 8, "family": 'a "b"\\ é\t'}


def test_add_makes_the_table():
    path = registry.add_model("mine-0.5", FIELDS, registry=registry.load())
    assert path == paths.user_registry()
    entry = registry.load().find("mine-0.5")
    assert {key: getattr(entry, key) for key in FIELDS} == FIELDS


@pytest.mark.parametrize(
    "before", ["# mine\n", "# mine", MODEL, '[pairs."p.q"]\nbase = "llama-2-7b"\naligned = "b"\r\n']
)
def test_add_keeps_what_is_there(before, user_table):
    before = before.replace('"b"', '"llama-2-7b"')
    path = user_table(before)
    registry.add_model("mine", FIELDS, registry=registry.load())
    assert path.read_bytes().decode().startswith(before)
    assert registry.load().find("mine").n_ctx == 8
    assert [one.name for one in path.parent.iterdir()] == ["models.toml"]


def test_add_writes_through_a_link_and_keeps_the_mode(user_table, tmp_path):
    path = user_table("")
    path.unlink()
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    real.chmod(0o640)
    path.symlink_to(real)
    registry.add_model("mine", FIELDS, registry=registry.load())
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "[models.mine]" in real.read_text()


@pytest.mark.parametrize("alias", ["llama-2-7b", "a/b", "a b", "", "m.gguf", "é", "hf:a"])
def test_add_refuses_a_name(alias):
    with pytest.raises(BadValue, match="has it already|use letters, digits"):
        registry.add_model(alias, FIELDS, registry=registry.load())
    assert not paths.user_registry().exists()


@pytest.mark.parametrize(
    ("before", "fields", "reason"),
    [
        ("models = {}\n", FIELDS, "nothing can be appended to it"),
        ("# mine\n", {**FIELDS, "sha256": "abc"}, "line 8: sha256 is 'abc'"),
    ],
)
def test_add_leaves_the_table_alone_when_the_result_would_be_wrong(before, fields, reason, user_table):
    path = user_table(before)
    with pytest.raises(RegistryError, match=reason):
        registry.add_model("mine", fields, registry=registry.load())
    assert path.read_text() == before


def test_add_refuses_a_path_that_is_no_text():
    with pytest.raises(BadValue, match="it must be UTF-8 text"):
        registry.add_model("mine", {"path": "/x/\udcff.gguf"}, registry=registry.load())


def test_add_where_nothing_can_be_written():
    paths.config_dir().parent.mkdir(parents=True, exist_ok=True)
    paths.config_dir().write_text("a file where the folder should be")
    with pytest.raises(RegistryError, match=r"it cannot be written .*Check the permissions of its folder\."):
        registry.add_model("mine", FIELDS, registry=registry.Registry())


# --- Chat formats ----------------------------------------------------------------------------------------------------


def test_old_chat_files_get_the_format_they_were_trained_on():
    known = registry.load()
    template = known.find("llama-2-7b-chat").chat_template()
    assert Chat(template, bos="<s>", eos="</s>").render(" Who was she? ").text == "<s>[INST] Who was she? [/INST]"
    with_system = Chat(template, bos="<s>", eos="</s>").render("Hi", system="Be brief.")
    assert with_system.text == "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"
    assert known.find("llama-2-7b").chat_template() == ""
    mistral = Chat(known.find("mistral-7b-instruct").chat_template(), bos="<s>", eos="</s>")
    assert mistral.render("Hi").text == "<s>[INST] Hi [/INST]"
    with pytest.raises(TemplateError, match="no system message"):
        mistral.render("Hi", system="Be brief.")


def test_an_unknown_format_is_refused(user_table):
    user_table('[models.mine]\npath = "/m.gguf"\ntemplate = "alpaca"\n')
    with pytest.raises(RegistryError, match="template is 'alpaca'; it must be gguf, none, .* or one of chatml, gemma"):
        registry.load()


# Formats as their makers document them: the turns of a user, and what a system message becomes.
FORMATS = {
    "chatml": ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>system\nBe brief.<|im_end|>\n"),
    "llama-3": (
        "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>",
    ),
    "phi-3": ("<|user|>\nHi<|end|>\n<|assistant|>\n", "<|system|>\nBe brief.<|end|>\n"),
    "gemma": ("<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", None),
}


@pytest.mark.parametrize("name", FORMATS)
def test_packaged_formats(name, user_table):
    user_table(f'[models.mine]\npath = "/m.gguf"\ntemplate = "{name}"\n')
    chat = Chat(registry.load().find("mine").chat_template(), bos="<s>", eos="</s>")
    asked, system = FORMATS[name]
    assert chat.render("Hi").text == asked
    if system is None:
        with pytest.raises(TemplateError, match="no system message"):
            chat.render("Hi", system="Be brief.")
    else:
        assert chat.render("Hi", system="Be brief.").text.replace("<s>", "") == system + asked.replace("<s>", "")


def test_every_packaged_format_is_tested():
    assert set(registry.template_names()) == {*FORMATS, "llama-2", "mistral"}


def test_a_template_may_be_a_file_beside_the_table(user_table):
    table = user_table('[models.mine]\npath = "/m.gguf"\ntemplate = "my.jinja"\n')
    (table.parent / "my.jinja").write_text("Q: {{ messages[0].content }}\nA:", "utf-8")
    entry = registry.load().find("mine")
    assert Chat(entry.chat_template(), bos="", eos="").render("Who?").text == "Q: Who?\nA:"
    (table.parent / "my.jinja").write_bytes(b"\xff")
    with pytest.raises(RegistryError, match="my.jinja, cannot be read .it is no UTF-8"):
        entry.chat_template()
    (table.parent / "my.jinja").unlink()
    with pytest.raises(RegistryError, match="my.jinja, cannot be read .No such file or directory.. Correct its path"):
        entry.chat_template()

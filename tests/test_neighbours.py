"""Models of other programs: folders as Ollama, LM Studio, llama.cpp and the hub's client lay them, and broken ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import FakeHub, Machine

from llama_diversity import hub, neighbours, registry
from llama_diversity.cli.complete import complete_model
from llama_diversity.errors import BadValue, ModelFileError, UnknownName
from llama_diversity.neighbours import caches
from llama_diversity.resolve import resolve_model

DATA = Path(registry.__file__).parent / "data"
TINY = DATA / "tiny-aligned.gguf"
SHA256 = hashlib.sha256(TINY.read_bytes()).hexdigest()
FOLDERS = (
    "OLLAMA_MODELS", "LMSTUDIO_HOME", "LLAMA_CACHE",
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, and no variable that leads elsewhere."""
    for name in FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLAMADIV_HOME", str(tmp_path / "llamadiv"))
    return tmp_path


def layer(folder: Path, data: bytes, kind: str = "model") -> dict[str, object]:
    """A layer of a manifest, and its blob."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / "blobs" / f"sha256-{sha256}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{sha256}", "size": len(data)}


def manifest(folder: Path, name: str, *layers: dict[str, object], root: str = "manifests", **fields: object) -> Path:
    """A manifest as Ollama writes it; `name` is HOST/NAMESPACE/MODEL/TAG."""
    path = folder / root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": list(layers), **fields}))
    return path


def ollama(home: Path) -> Path:
    return home / ".ollama" / "models"


def found(home: Path) -> dict[str, neighbours.Found]:
    """What of this home is found; a machine that runs the tests may have a service with models of its own."""
    return {one.reference: one for one in neighbours.look().found if one.path.is_relative_to(home)}


def problems(home: Path) -> list[str]:
    return [one.replace(str(home), "~") for one in neighbours.look().problems]


# --- Ollama ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        ("registry.ollama.ai/library/llama3.2/1b", "ollama:llama3.2:1b"),
        ("registry.ollama.ai/me/mine/latest", "ollama:me/mine:latest"),
        ("hf.co/org/Repo-GGUF/Q8_0", "ollama:hf.co/org/Repo-GGUF:Q8_0"),
    ],
)
def test_a_model_of_ollama_has_ollamas_name(home, path, reference):
    manifest(
        ollama(home), path, layer(ollama(home), TINY.read_bytes()), layer(ollama(home), b"{{ .Prompt }}", "template")
    )
    [one] = found(home).values()
    assert (one.reference, one.kind, one.size_bytes, one.sha256) == (reference, "model", TINY.stat().st_size, SHA256)
    assert one.path == ollama(home) / "blobs" / f"sha256-{SHA256}"
    assert registry.load().find(reference.removesuffix(":latest")).path == one.path


def test_the_folder_that_is_set_holds_and_the_newer_manifests_come_first(home, monkeypatch):
    folder = home / "elsewhere"
    monkeypatch.setenv("OLLAMA_MODELS", f'"{folder}"')  # Ollama takes quotes away
    old, new = layer(folder, b"old"), layer(folder, b"new")
    manifest(folder, "registry.ollama.ai/library/m/latest", old)
    manifest(folder, "ollama.com/library/m/latest", new, root="manifests-v2")
    manifest(ollama(home), "registry.ollama.ai/library/unseen/latest", layer(ollama(home), b"unseen"))
    assert [one.path.read_bytes() for one in found(home).values()] == [b"new"]


def test_of_a_list_of_manifests_the_one_with_a_gguf_is_taken(home):
    folder = ollama(home)
    child = json.dumps({"layers": [layer(folder, TINY.read_bytes())]}).encode()
    reference = layer(folder, child)["digest"]  # a manifest is a blob too
    manifest(
        folder,
        "ollama.com/library/both/latest",
        root="manifests-v2",
        mediaType="application/vnd.ollama.manifest.list.v2+json",
        manifests=[{"runner": "mlx", "digest": f"sha256:{'0' * 64}"}, {"runner": "llamacpp", "digest": reference}],
    )
    assert found(home)["ollama:both:latest"].sha256 == SHA256


def test_projectors_and_adapters_are_told_apart(home):
    folder = ollama(home)
    weights = layer(folder, TINY.read_bytes())
    manifest(folder, "registry.ollama.ai/library/sees/latest", weights, layer(folder, b"eyes", "projector"))
    manifest(folder, "registry.ollama.ai/library/tuned/latest", weights, layer(folder, b"lora", "adapter"))
    kinds = {one.reference.replace(str(folder), ""): one.kind for one in found(home).values()}
    eyes, lora = (hashlib.sha256(data).hexdigest() for data in (b"eyes", b"lora"))
    assert kinds == {
        "ollama:sees:latest": "model",
        f"/blobs/sha256-{eyes}": "projector",
        "ollama:tuned:latest": "model",
        f"/blobs/sha256-{lora}": "adapter",
    }
    with pytest.raises(
        ModelFileError, match="with an adapter, which llamadiv does not open; the model alone is .*sha256-"
    ):
        registry.load().find("ollama:tuned")


def _empty(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest")


def _safetensors(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest", layer(folder, b"x", "tensor; name=a"))


def _no_json(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest").write_bytes(b'{"layers": [\xff')


def _other_json(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest").write_text("[[]]")


def _no_layers(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest").write_text('{"layers": 3}')


def _no_digest(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest", {**layer(folder, b"x"), "digest": "../../passwd"})


def _missing(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest", layer(folder, b"x"))
    shutil.rmtree(folder / "blobs")


def _short(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest", {**layer(folder, b"x"), "size": 10})


def _endless(folder: Path) -> None:
    manifest(folder, "registry.ollama.ai/library/m/latest").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (_empty, "it has no weights on this machine, as models in Ollama's cloud have none"),
        (_safetensors, "its weights are safetensors, not a GGUF file"),
        (_no_json, "is no JSON"),
        (_other_json, "is none"),
        (_no_layers, "its manifest has no layers"),
        (_no_digest, "its manifest names a file by something that is no sha256"),
        (_missing, "cannot be read (No such file or directory)"),
        (_short, "has 1 of 10 bytes"),
        (_endless, "is no JSON"),
    ],
)
def test_what_is_broken_in_ollama_is_a_sentence(home, breaks, says):
    breaks(ollama(home))
    assert found(home) == {}
    [problem] = problems(home)
    assert problem.startswith("ollama:m:latest: ")
    assert says in problem
    with pytest.raises(ModelFileError, match="ollama:m:latest: .*Get it again in Ollama"):
        registry.load().find("ollama:m")


def test_folders_that_are_none_and_links_in_circles_are_sentences(home):
    folder = ollama(home)
    folder.mkdir(parents=True)
    (folder / "manifests").write_text("a file")
    (home / ".lmstudio" / "models" / "org").mkdir(parents=True)
    circle = home / ".lmstudio" / "models" / "org" / "again"
    circle.symlink_to(circle.parent)
    (home / ".lmstudio" / "models" / "org" / "me.gguf").symlink_to("me.gguf")
    assert found(home) == {}
    assert sorted(problems(home)) == [
        "~/.lmstudio/models/org/me.gguf is a link that leads nowhere.",
        "~/.ollama/models/manifests cannot be read (Not a directory). Check its permissions.",
    ]


def test_a_name_that_ollama_does_not_have(home):
    manifest(ollama(home), "registry.ollama.ai/library/llama3.2/1b", layer(ollama(home), b"x"))
    with pytest.raises(
        UnknownName, match=r"Did you mean ollama:llama3\.2:1b\? `llamadiv models ls --found` lists them"
    ):
        registry.load().find("ollama:llama3.2:3b")
    with pytest.raises(BadValue, match="it must look like ollama:NAME or ollama:NAME:TAG"):
        registry.load().find("ollama:")
    with pytest.raises(BadValue, match=r"it must look like lmstudio:PUBLISHER/REPO/FILE\.gguf"):
        registry.load().find("lmstudio:")


# --- LM Studio -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["default", "older", "pointer", "settings", "variable"])
def test_a_model_of_lm_studio_is_found_where_lm_studio_keeps_it(home, place, monkeypatch):
    folder = {
        "default": home / ".lmstudio" / "models",
        "older": home / ".cache" / "lm-studio" / "models",
        "pointer": home / "far" / "models",
        "settings": home / "big disk",
        "variable": home / "own" / "models",
    }[place]
    if place == "pointer":
        (home / ".lmstudio-home-pointer").write_text(f"{home / 'far'}\n")
    if place == "variable":
        monkeypatch.setenv("LMSTUDIO_HOME", str(home / "own"))
    if place == "settings":
        (home / ".lmstudio").mkdir()
        (home / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": str(folder)}))
    repo = folder / "org" / "Repo-GGUF"
    repo.mkdir(parents=True)
    shutil.copy(TINY, repo / "m-Q8_0.gguf")
    (repo / "mmproj-m-f16.gguf").write_bytes(b"GGUF")
    here = found(home)
    assert {name: one.kind for name, one in here.items()} == {
        "lmstudio:org/Repo-GGUF/m-Q8_0.gguf": "model",
        "lmstudio:org/Repo-GGUF/mmproj-m-f16.gguf": "projector",
    }
    model = resolve_model("lmstudio:org/Repo-GGUF/m-Q8_0.gguf")
    assert (model.location, model.digest) == (str(repo / "m-Q8_0.gguf"), SHA256)


def test_settings_that_are_no_json_are_no_settings(home):
    (home / ".lmstudio" / "models" / "a").mkdir(parents=True)
    shutil.copy(TINY, home / ".lmstudio" / "models" / "a" / "m.gguf")
    for settings in ("{", "[]", '{"downloadsFolder": 3}', "[" * 100_000):
        (home / ".lmstudio" / "settings.json").write_text(settings)
        assert list(found(home)) == ["lmstudio:a/m.gguf"]


def test_a_split_model_is_one_line_and_says_what_it_lacks(home):
    repo = home / ".lmstudio" / "models" / "org" / "r"
    repo.mkdir(parents=True)
    for name in ("whole-00001-of-00002", "whole-00002-of-00002", "torn-00001-of-00003", "late-00002-of-00002"):
        (repo / f"{name}.gguf").write_bytes(b"GGUFabcd")
    here = found(home)
    whole, torn = (here[f"lmstudio:org/r/{name}.gguf"] for name in ("whole-00001-of-00002", "torn-00001-of-00003"))
    assert len(here) == 2
    assert (whole.n_files, whole.size_bytes, whole.problem) == (2, 16, None)
    assert (torn.size_bytes, torn.problem) == (8, "2 of its 3 files are missing")
    assert problems(home) == [
        "~/.lmstudio/models/org/r/late-00002-of-00002.gguf is part of a split model whose first file, "
        "late-00001-of-00002.gguf, is missing."
    ]


# --- Caches ----------------------------------------------------------------------------------------------------------


def test_the_caches_of_the_hub_and_of_llama_cpp(home):
    commit, other = "1" * 40, "2" * 40
    repo = home / ".cache" / "huggingface" / "hub" / "models--org--Repo"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "blobs").mkdir()
    shutil.copy(TINY, repo / "blobs" / SHA256)
    for snapshot, file in ((commit, "m.gguf"), (other, "m.gguf"), (other, "Q8/n.gguf"), (other, "a b.gguf")):
        path = repo / "snapshots" / snapshot / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(repo / "blobs" / SHA256)
    flat = home / ".cache" / "llama.cpp" / "org_Repo_m.gguf"
    flat.parent.mkdir()
    shutil.copy(TINY, flat)
    here = found(home)
    assert {name: one.sha256 for name, one in here.items()} == {
        "~/.cache/llama.cpp/org_Repo_m.gguf": None,
        "hf:org/Repo:m.gguf": SHA256,  # the second snapshot of the same bytes is not named again
        f"hf:org/Repo:Q8/n.gguf@{other}": SHA256,
        f"~/.cache/huggingface/hub/models--org--Repo/snapshots/{other}/a b.gguf": SHA256,
    }
    for name in here:
        assert registry.load().find(name).reference == name
    assert caches.in_hub_cache("org/Repo", "m.gguf", None) == repo / "snapshots" / commit / "m.gguf"
    assert caches.in_hub_cache("org/Repo", "Q8/n.gguf", other) == repo / "snapshots" / other / "Q8" / "n.gguf"
    assert caches.in_hub_cache("org/Repo", "Q8/n.gguf", None) is None


@pytest.mark.parametrize(
    "variables",
    [{}, {"XDG_CACHE_HOME": "xdg"}, {"HF_HOME": "hf"}, {"HF_HUB_CACHE": "hub"}, {"HUGGINGFACE_HUB_CACHE": "old"}],
)
def test_the_cache_is_where_the_client_has_it(home, variables, monkeypatch):
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(home / folder))
    asked = "from llama_diversity import hub; print(hub.cache_folder())"
    client = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert str(caches.hub_cache()) == client.stdout.strip()


def test_without_a_home_nothing_is_looked_for(monkeypatch, home):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user without an entry
    assert [one for one in neighbours.look().found if one.program != "Ollama"] == []
    assert caches.hub_cache() is None


# --- On the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    fake = FakeHub()
    fake.add("org/tiny", "t.gguf", TINY.read_bytes())
    yield fake
    fake.close()


@pytest.fixture
def machine(home: Path, server: FakeHub) -> Machine:
    """A machine whose models.toml has an alias `mine` for the file on the hub."""
    fresh = Machine(home, server.url)
    size_bytes = TINY.stat().st_size
    fresh.name("mine", repo="org/tiny", file="t.gguf", sha256=SHA256, size_bytes=size_bytes, role="aligned")
    return fresh


def test_what_is_found_is_listed_with_its_alias(machine, home):
    manifest(ollama(home), "registry.ollama.ai/library/tiny/latest", layer(ollama(home), TINY.read_bytes()))
    repo = home / ".lmstudio" / "models" / "org" / "r"
    repo.mkdir(parents=True)
    (repo / "no.gguf").write_bytes(b"nothing of the kind")
    listed = machine.run("ls", "--found")
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["MODEL", "SIZE", "WHAT", "OF", "ALIAS"],
        ["ollama:tiny:latest", f"{TINY.stat().st_size / 1e6:.1f}", "MB", "model", "Ollama", "mine"],
        ["lmstudio:org/r/no.gguf", "19", "B", "damaged", "LM", "Studio"],
    ]
    shown = json.loads(machine.run("ls", "--found", "--json").stdout)
    assert [(one["model"], one["alias"], one["sha256"]) for one in shown["found"]] == [
        ("ollama:tiny:latest", "mine", SHA256),
        ("lmstudio:org/r/no.gguf", None, None),
    ]
    assert "this is not a GGUF file" in shown["found"][1]["problem"]
    assert machine.run("ls", "--found", "-q").stdout == "ollama:tiny:latest\n"
    assert machine.run("ls", "--found", "--family", "tiny").returncode == 2


def test_a_blob_of_ollama_that_is_not_what_its_name_says_is_refused(machine, home):
    path = manifest(ollama(home), "registry.ollama.ai/library/tiny/latest", layer(ollama(home), TINY.read_bytes()))
    assert machine.run("verify", "ollama:tiny").stdout.split()[-2:][0] == "ok"
    blob = ollama(home) / "blobs" / f"sha256-{SHA256}"
    blob.write_bytes(TINY.read_bytes()[:-1] + b"!")
    refused = machine.run("verify", "ollama:tiny")
    assert refused.returncode == 1
    assert f"but Ollama states {SHA256}" in refused.stderr
    assert "pull it again: ollama rm tiny" in refused.stderr
    assert path.exists()


def test_an_alias_is_used_from_ollama_at_once(machine, server, home):
    """Its blob is called by the sha256 that models.toml pins; nothing is asked of the network."""
    assert "is not on this machine" in machine.run("path", "mine").stderr
    manifest(ollama(home), "registry.ollama.ai/library/tiny/latest", layer(ollama(home), TINY.read_bytes()))
    blob = ollama(home) / "blobs" / f"sha256-{SHA256}"
    assert machine.run("path", "mine").stdout == f"{blob}\n"
    pulled = machine.run("pull", "mine")
    assert "used from there" in pulled.stderr
    assert str(blob) in pulled.stdout
    shown = json.loads(machine.run("show", "mine", "--json").stdout)
    assert (shown["here"], shown["commit"], shown["path"]) == (True, None, str(blob))
    assert json.loads(machine.run("verify", "mine", "--json").stdout)["files"][0]["state"] == "ok"
    assert "there is nothing to remove" in machine.run("rm", "mine", "--yes").stderr
    assert server.state.requests == []
    assert not list(home.rglob("*.incomplete"))


def test_a_file_of_lm_studio_is_compared_before_it_is_used(machine, server, home):
    file = home / ".lmstudio" / "models" / "org" / "tiny" / "t.gguf"
    file.parent.mkdir(parents=True)
    shutil.copy(TINY, file)
    said = machine.run("path", "mine").stderr
    assert "LM Studio has a file of its name and size, which is used if its sha256 is right" in said
    assert json.loads(machine.run("pull", "mine", "--dry-run", "--json").stdout)["files"][0]["missing_bytes"] == 0
    pulled = machine.run("pull", "mine", "--offline", "-q")
    assert pulled.stdout == f"{file}\n"
    assert server.state.requests == []
    assert machine.run("path", "mine").stdout == f"{file}\n"


def test_another_file_of_the_same_name_and_size_is_not_used(machine, server, home):
    file = home / ".lmstudio" / "models" / "org" / "tiny" / "t.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(TINY.read_bytes()[:-1] + b"!")
    pulled = machine.run("pull", "mine")
    assert pulled.returncode == 0
    assert "LM Studio has a file of the name and size of mine, but another one" in pulled.stderr
    assert "snapshots" in machine.run("path", "mine").stdout
    assert len(server.state.gets()) == 1


def test_a_tab_offers_the_names_of_other_programs(home):
    import click

    manifest(ollama(home), "registry.ollama.ai/library/llama3.2/1b", layer(ollama(home), TINY.read_bytes()))
    offered = complete_model(click.Context(click.Command("x")), click.Argument(["x"]), "ollama:")
    assert [(item.value, item.help) for item in offered if "llama3.2:1b" in item.value] == [
        ("ollama:llama3.2:1b", "Ollama")
    ]


@pytest.mark.model
def test_a_model_of_ollama_is_drawn_from(home, run):
    manifest(ollama(home), "registry.ollama.ai/library/tiny/latest", layer(ollama(home), TINY.read_bytes()))
    asked = ("-m", "ollama:tiny", "-p", "She was", "-n", 2, "--max-tokens", 4)
    code, out, _ = run("sample", *asked, "--json", "--store", home / "s")
    assert (code, len(out.splitlines())) == (0, 2)
    [drawn] = json.loads(run("runs", "ls", "--json", "--store", home / "s")[1])
    assert drawn["cells"][0]["model"] == "ollama:tiny"
    assert hub.stated_sha256(ollama(home) / "blobs" / f"sha256-{SHA256}") == SHA256

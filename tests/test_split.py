"""A model is all of its bytes: what a model split into several files is to every command."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hub_server import COMMIT, FakeHub, HubFile, Machine
from split_models import write_split, write_split_llama

from llama_diversity import digests, registry
from llama_diversity.errors import BadValue, ModelFileError, RegistryError
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.session import Session

REPO, FOLDER, NAME = "Org/Split-GGUF", "Q4_K_M", "Big-Model.Q4_K_M"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def combined(files: tuple[Path, ...]) -> str:
    return hashlib.sha256("".join(f"{sha256(file)}\n" for file in files).encode()).hexdigest()


# --- What identifies it ----------------------------------------------------------------------------------------------


def test_the_digest_of_one_file_is_its_own(tmp_path):
    files = write_split(tmp_path, NAME)
    assert digests.model_digest([sha256(files[0])]) == sha256(files[0])
    assert digests.model_digest(digests.digests(files)) == combined(files)
    assert digests.model_digest(digests.digests(files[::-1])) != combined(files)


def test_progress_is_over_all_files(tmp_path):
    files = write_split(tmp_path, NAME)
    sizes = [file.stat().st_size for file in files]
    calls = []
    digests.digests(files, lambda done, total: calls.append((done, total)))
    assert calls == [(sum(sizes[: number + 1]), sum(sizes)) for number in range(4)]


@pytest.mark.model
def test_two_trainings_of_one_architecture_never_share_samples(tmp_path, run):
    models = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        models.append(write_split_llama(tmp_path / str(seed), "model", seed=seed))
    assert len(models[0]) == len(models[1]) == 3
    assert models[0][0].read_bytes() == models[1][0].read_bytes()  # the first files alone cannot tell them apart

    def drawn(path: Path) -> list[str]:
        code, out, err = run("sample", "-m", path, "-p", "a", "-n", 4, "--max-tokens", 8, "--json")
        assert code == 0, err
        return [json.loads(line)["text"] for line in out.splitlines()]

    first, second = drawn(models[0][0]), drawn(models[1][0])
    assert first != second
    assert drawn(models[0][0]) == first
    for new, old in zip(models[1], models[0], strict=True):  # the other training under the same name
        shutil.copy2(new, old)
    assert drawn(models[0][0]) == second


@pytest.mark.model
@pytest.mark.parametrize("how", ["copied over", "linked anew"])
def test_a_file_replaced_between_reading_and_opening_is_refused(tmp_path, tiny_model, base_model, how):
    path = tmp_path / "m.gguf"
    path.symlink_to(tiny_model) if how == "linked anew" else shutil.copy(tiny_model, path)
    reference = resolve_model(str(path))
    with Session().reading(reference) as engine:
        assert engine.facts.digest == reference.digest
    if how == "linked anew":
        path.unlink()
        path.symlink_to(base_model)
    else:
        shutil.copy(base_model, path)
    with (
        pytest.raises(ModelFileError, match="it changed while it was read"),
        Session().reading(reference),
    ):
        pass


# --- Files of one's own ----------------------------------------------------------------------------------------------


def test_a_later_file_or_a_missing_one_says_what_to_do(tmp_path, run):
    files = write_split(tmp_path, NAME)
    code, _, err = run("sample", "-m", files[1], "-p", "a", "-n", 1)
    assert (code, "Name the first one, Big-Model.Q4_K_M-00001-of-00004.gguf." in err) == (1, True)
    files[2].unlink()
    for command in (["sample", "-p", "a", "-n", 1, "-m"], ["models", "path"]):
        code, out, err = run(*command, files[0])
        assert (code, out) == (1, "")
        assert "Fetch Big-Model.Q4_K_M-00003-of-00004.gguf into the same folder." in err


def test_verify_reads_every_file(tmp_path, run):
    files = write_split(tmp_path, NAME)
    assert run("models", "add", "split", files[0], "--sha256", combined(files))[0] == 0
    assert run("models", "add", "unknown", files[0])[0] == 0

    def states() -> dict[str, str]:
        _, out, _ = run("models", "verify", "split", "unknown", "--json")
        return {one["model"]: one["state"] for one in json.loads(out)["files"]}

    assert states() == {"split": "ok", "unknown": "nothing to compare"}
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[:-32])
    assert states() == {"split": "mismatch", "unknown": "damaged"}
    files[3].write_bytes(whole[:-1] + b"!")
    assert states() == {"split": "mismatch", "unknown": "nothing to compare"}
    files[3].unlink()
    assert states() == {"split": "incomplete", "unknown": "incomplete"}
    code, _, err = run("models", "verify", "split")
    assert code == 1
    assert "Fetch Big-Model.Q4_K_M-00004-of-00004.gguf into the same folder." in err
    assert run("models", "verify")[0] == 1  # also where nobody named it


def test_ls_and_show_are_about_all_files(tmp_path, run):
    files = write_split(tmp_path, NAME)
    run("models", "add", "split", files[0])
    shown = json.loads(run("models", "show", "split", "--json")[1])
    assert shown["size_bytes"] == sum(file.stat().st_size for file in files)
    assert shown["files"] == [str(file) for file in files]
    assert json.loads(run("models", "path", "split", "--json")[1])["files"] == shown["files"]
    assert run("models", "path", "split")[1] == f"{files[0]}\n"
    assert shown["missing"] == []
    files[1].unlink()
    code, out, err = run("models", "show", "split", "--json")
    assert (code, "Fetch Big-Model.Q4_K_M-00002-of-00004.gguf into the same folder." in err) == (1, True)
    assert (json.loads(out)["here"], json.loads(out)["missing"]) == (False, ["Big-Model.Q4_K_M-00002-of-00004.gguf"])
    for code, out, _ in (run("models", "show", name) for name in ("split", files[0])):
        assert (code, "Big-Model.Q4_K_M-00002-of-00004.gguf" in out) == (1, True)


def test_a_link_to_the_first_file_is_named_as_it_is(tmp_path, run):
    """As in the Hugging Face cache, whose links lead to blobs without names."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "links").mkdir()
    for number, file in enumerate(write_split(tmp_path, NAME)):
        blob = file.rename(tmp_path / "blobs" / str(number))
        (tmp_path / "links" / file.name).symlink_to(blob)
    first = tmp_path / "links" / f"{NAME}-00001-of-00004.gguf"
    assert run("models", "add", "split", first)[0] == 0
    assert len(json.loads(run("models", "path", "split", "--json")[1])["files"]) == 4


def test_add_refuses_a_later_file(tmp_path, run):
    files = write_split(tmp_path, NAME)
    code, _, err = run("models", "add", "split", files[1])
    assert (code, "Name the first one, Big-Model.Q4_K_M-00001-of-00004.gguf." in err) == (1, True)


# --- Files of the hub ------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    (tmp_path / "published").mkdir()
    return write_split(tmp_path / "published", NAME)


@pytest.fixture
def server(files: tuple[Path, ...]):
    """A hub whose repository holds a split model in a folder."""
    fake = FakeHub()
    for file in files:
        fake.add(REPO, f"{FOLDER}/{file.name}", file.read_bytes())
    yield fake
    fake.close()


@pytest.fixture
def machine(tmp_path: Path, server: FakeHub, files: tuple[Path, ...]) -> Machine:
    fresh = Machine(tmp_path, server.url)
    size_bytes = sum(file.stat().st_size for file in files)
    fresh.name("split", repo=REPO, file=f"{FOLDER}/{files[0].name}", sha256=combined(files), size_bytes=size_bytes)
    return fresh


def snapshot(machine: Machine, commit: str = COMMIT) -> Path:
    return machine.cache / "models--Org--Split-GGUF" / "snapshots" / commit / FOLDER


def answer(machine: Machine, *arguments: str) -> dict:
    result = machine.run(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_life_of_a_split_model(machine, server, files):
    size_bytes = sum(file.stat().st_size for file in files)
    (planned,) = answer(machine, "pull", "split", "--dry-run")["files"]
    assert (planned["size_bytes"], planned["missing_bytes"], planned["sha256"]) == (
        size_bytes,
        size_bytes,
        combined(files),
    )
    assert server.state.gets() == []

    (pulled,) = answer(machine, "pull", "split")["files"]
    assert pulled["path"] == str(snapshot(machine) / files[0].name)
    assert (pulled["size_bytes"], pulled["transferred_bytes"], pulled["sha256"], pulled["stated_by"]) == (
        size_bytes,
        size_bytes,
        combined(files),
        "models.toml",
    )
    assert [file.name for file in sorted(snapshot(machine).iterdir())] == [file.name for file in files]

    server.state.requests.clear()
    (verified,) = answer(machine, "verify", "split")["files"]
    assert (verified["state"], verified["sha256"]) == ("ok", combined(files))
    assert server.state.requests == []

    assert answer(machine, "rm", "split", "--yes") == {"removed": [{"model": "split", "freed_bytes": size_bytes}]}
    assert not snapshot(machine).exists()


def test_a_missing_and_a_damaged_file_are_found(machine, server, files):
    reference = f"hf:{REPO}:{FOLDER}/{files[0].name}"
    assert machine.run("pull", reference).returncode == 0
    (verified,) = answer(machine, "verify", reference)["files"]
    assert verified["state"] == "ok"  # as the hub states for each file

    third = snapshot(machine) / files[2].name
    kept = third.read_bytes()
    third.resolve().write_bytes(kept[:-1] + b"!")
    result = machine.run("verify", reference)
    assert result.returncode == 1
    assert "mismatch" in result.stdout
    assert f"the bytes of {third} have sha256" in result.stderr

    third.resolve().unlink()
    result = machine.run("verify", "split")
    assert result.returncode == 1
    assert "incomplete" in result.stdout
    fetch = "1 of the 4 files of split is not on this machine. Fetch it with: llamadiv models pull split"
    assert fetch in result.stderr
    listed = answer(machine, "ls")["models"]
    (one,) = [one for one in listed if one["model"] == "split"]
    assert (one["here"], one["path"]) == (False, None)
    assert one["partial_bytes"] == sum(file.stat().st_size for file in files if file != files[2])

    server.state.requests.clear()
    assert machine.run("pull", "split").returncode == 0
    assert [Path(request.path).name for request in server.state.gets()] == [files[2].name]
    assert third.read_bytes() == kept


def test_all_files_are_of_one_commit(machine, server, files, tmp_path):
    second = "2" * 40
    (tmp_path / "newer").mkdir()
    server.state.get_statuses = [0, 500]
    assert machine.run("pull", "split").returncode == 1  # the first file came, the second did not
    newer = write_split(tmp_path / "newer", NAME, seed=1)
    for file in newer[1:]:  # what is at main now; the fake hub serves one version under every commit
        server.state.files[REPO, f"{FOLDER}/{file.name}"] = HubFile(file.read_bytes())
    server.state.revisions = {"main": second, "old": COMMIT}
    server.state.requests.clear()
    result = machine.run("pull", "split")
    assert {Path(request.path).parts[4] for request in server.state.requests} == {COMMIT}
    assert "models.toml pins" in result.stderr  # and what is not what was pinned is not fetched
    assert server.state.gets() == []


def test_other_files_than_models_toml_pins_are_not_fetched(machine, server, files):
    machine.name("other", repo=REPO, file=f"{FOLDER}/{files[0].name}", sha256="0" * 64)
    result = machine.run("pull", "other")
    assert result.returncode == 1
    assert f"the hub states sha256 {combined(files)}" in result.stderr
    assert server.state.gets() == []


def test_a_gap_on_the_hub_is_named(machine, server, files):
    del server.state.files[REPO, f"{FOLDER}/{files[1].name}"]
    result = machine.run("pull", "split")
    assert result.returncode == 1
    assert f"has no file {FOLDER}/{files[1].name}" in result.stderr
    assert server.state.gets() == []


def test_without_symbolic_links(machine, files):
    machine.environment["HF_HUB_DISABLE_SYMLINKS"] = "1"
    assert machine.run("pull", "split").returncode == 0
    (verified,) = answer(machine, "verify", "split")["files"]
    assert verified["state"] == "ok"
    assert not (snapshot(machine) / files[0].name).is_symlink()


def test_a_cache_behind_a_link(machine, tmp_path, files):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "hf").mkdir()
    machine.cache.symlink_to(tmp_path / "elsewhere")
    assert machine.run("pull", "split").returncode == 0
    assert answer(machine, "verify", "split")["files"][0]["state"] == "ok"
    assert answer(machine, "rm", "split", "--yes")["removed"][0]["freed_bytes"] > 0


def test_a_later_file_of_the_hub_names_the_first():
    reference = "hf:o/r:Q4/m-00002-of-00003.gguf@main"
    with pytest.raises(BadValue, match="name the first, hf:o/r:Q4/m-00001-of-00003.gguf@main"):
        registry.load().find(reference)
    assert registry.load().find("hf:o/r:Q4/m-00001-of-00003.gguf").file == "Q4/m-00001-of-00003.gguf"


def test_a_table_names_the_first_file(own_folders):
    place = own_folders / "llamadiv" / "models.toml"
    place.parent.mkdir()
    place.write_text('[models.m]\nrepo = "o/r"\nfile = "Q4/m-00002-of-00003.gguf"\n')
    with pytest.raises(RegistryError, match=r"line 3: .* it must be the first file of a split model"):
        registry.load()
    place.write_text('[pairs.p]\nbase = "hf:o/r:m-00002-of-00003.gguf"\naligned = "tiny-base"\n')
    with pytest.raises(RegistryError, match="name the first, hf:o/r:m-00001-of-00003.gguf"):
        registry.load()

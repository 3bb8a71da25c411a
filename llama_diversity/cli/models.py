"""`llamadiv models`: list, fetch, verify and name model files. The one command that touches the network is `pull`."""

from __future__ import annotations

from typing import Any

import click

from llama_diversity import registry, shelf
from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.options import common_options
from llama_diversity.cli.output import Output, is_confirmed
from llama_diversity.errors import BadUsage
from llama_diversity.registry import ModelEntry
from llama_diversity.render import model_pages as pages
from llama_diversity.render.safe import visible
from llama_diversity.resolve import find_files, require_files
from llama_diversity.studies.checkup.study import verified
from llama_diversity.studies.session import Session


@click.group()
def models() -> None:
    """List, fetch, verify and name model files.

    A model is named by an alias, a path, hf:OWNER/REPO:FILE[@REVISION], ollama:NAME, lmstudio:PUBLISHER/REPO/FILE or
    scripted:NAME. Files live in the Hugging Face cache, which other tools share. Only `pull` touches the network.
    """


# --- ls, show, path --------------------------------------------------------------------------------------------------


@models.command("ls")
@click.option("--pair", "pair_name", shell_complete=complete_pair, help="Only the two models of this pair.")
@click.option("--family", help="Only the models of this family.")
@click.option("--found", is_flag=True, help="What Ollama, LM Studio and other programs keep here, by what to type.")
@common_options
def ls(pair_name: str | None, family: str | None, *, found: bool, session: Session, output: Output) -> None:
    """List the named models, pairs and ladders."""
    if found:
        _ls_found(output, alone=not (pair_name or family))
        return
    known = registry.load()
    listed = [shelf.look(entry) for entry in shelf.filtered(known, pair_name, family)]
    groups = shelf.groups_as_json(known)
    lines = pages.of_models([one.in_short() for one in listed], {} if pair_name or family else groups)
    as_json = {"models": [one.as_json() for one in listed], **groups}
    output.answer(as_json, [one.entry.reference for one in listed], lines, indent=2)


def _ls_found(output: Output, *, alone: bool) -> None:
    if not alone:
        raise BadUsage("--found lists models without pairs or families; leave out --pair and --family.")
    beside = shelf.beside()
    for words in pages.remarks_of_found(beside):
        output.remark(words)
    lines = pages.of_found(beside["found"]) if beside["found"] else []
    output.answer(beside, [one["model"] for one in beside["found"] if not one["problem"]], lines, indent=2)


@models.command()
@click.argument("name", shell_complete=complete_model)
@common_options
def show(name: str, session: Session, output: Output) -> None:
    """Show everything known about a model.

    Ends with 1 if some of its files are here and others are missing.
    """
    known = registry.load()
    shelf.refuse_group(name, known)
    one = shelf.look(known.find(name))
    details = one.as_json() | shelf.groups_of(name, known)
    lines = pages.of_model(details | {"here": one.here})
    output.answer(details, [str(one.path or one.entry.reference)], lines, indent=2)
    if any(one.files) and one.missing:
        require_files(one.entry)  # raises, as every other command does that needs them all


@models.command()
@click.argument("name", shell_complete=complete_model)
@common_options
def path(name: str, session: Session, output: Output) -> None:
    """Print the path of a model's file, and nothing else.

    Of a model that is split into several files it is the first one, which stands for all; --json names them all.
    """
    entry = shelf.with_file(registry.load().find(name))
    files = [str(file) for file in require_files(entry)]
    output.answer({"model": name, "path": files[0], "files": files}, files[:1], files[:1], indent=2)


@models.command()
@click.option("--bench/--no-bench", default=True, help="Whether to measure for ten seconds, for the times.")
@common_options
def suggest(*, bench: bool, session: Session, output: Output) -> None:
    """Say which pairs and ladders fit this machine.

    Of each how much there is to fetch, how much memory it needs, how long `reproduce` would take, estimated from the
    speed of a model that is here, and what to type. Nothing is fetched.

    \b
    Example:
      llamadiv models suggest
    """
    from llama_diversity.studies.suggest.exhibits import lines  # load longer than a list takes
    from llama_diversity.studies.suggest.study import suggest as suggestions

    found = suggestions(session, with_bench=bench)
    output.answer(found.to_dict(), [one.name for one in found.found if one.lacks is None], lines(found), indent=2)


# --- pull, verify, rm ------------------------------------------------------------------------------------------------


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_model)
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and fetch nothing.")
@click.option("--single", is_flag=True, help="Where a model and a pair share NAME, fetch the model alone.")
@common_options
def pull(names: tuple[str, ...], *, dry_run: bool, single: bool, session: Session, output: Output) -> None:
    """Fetch model files from the Hugging Face hub.

    NAME is a model, a pair or ladder (all its files) or hf:OWNER/REPO:FILE[@REVISION]. What is here already stays
    untouched, an unfinished download continues, and every file is checked against its sha256. Of a model that is split
    into several files FILE is the first one, and all are fetched.
    """
    known = registry.load()
    entries = shelf.unique(entry for name in names for entry in shelf.members(known, name, single=single))
    results = [
        shelf.plan(entry, offline=session.offline) if dry_run else _pulled(entry, session, output) for entry in entries
    ]
    files = [result["path"] or result["model"] for result in results]
    lines = pages.of_plan(results) if dry_run else pages.of_fetched(results)
    output.answer({"dry_run": dry_run, "files": results}, files, lines, indent=2)


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_model)
@common_options
def verify(names: tuple[str, ...], session: Session, output: Output) -> None:
    """Compare model files with their sha256.

    Without NAME, every named model that is here. Ends with 1 if a file is not what models.toml or the hub says, cannot
    be read to its end, or is not here (one that was named, or one of several files of a model).
    """
    known = registry.load()
    named = shelf.unique(entry for name in names for entry in shelf.members(known, name, single=False))
    entries = named or [entry for entry in known.entries() if any(find_files(entry))]
    results = [verified(entry, session) for entry in entries]
    if not (results or output.json):
        output.remark("No named model is on this machine. `llamadiv models pull NAME` fetches one.")
    bad = [one["model"] for one in results if one["error"]]
    output.answer({"files": results}, bad, pages.of_verified(results) if results else [], indent=2)
    shelf.require_right(results)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_model)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
def rm(names: tuple[str, ...], *, yes: bool, session: Session, output: Output) -> None:
    """Remove model files from the Hugging Face cache.

    What is left of unfinished downloads goes too. Bytes that another revision in the cache needs stay, and so does
    the name of the model.
    """
    known = registry.load()
    entries = [shelf.removable(known.find(name)) for name in names]
    if not yes and not _is_confirmed(entries):
        output.remark("Nothing was removed.")
        return
    results: list[dict[str, Any]] = [{"model": one.reference, "freed_bytes": shelf.remove(one)} for one in entries]
    output.answer({"removed": results}, [one["model"] for one in results], pages.of_removed(results), indent=2)


# --- add -------------------------------------------------------------------------------------------------------------


@models.command()
@click.argument("alias")
@click.argument("reference")
@click.option("--role", type=click.Choice(registry.ROLES), help="What the model is.")
@click.option("--family", help="Which models it belongs to.")
@click.option("--licence", help="Under which licence it is published.")
@click.option("--sha256", help="What its bytes must hash to.")
@click.option("--template", help="The file's own (gguf), none, a packaged format, or the path of a .jinja file.")
@click.option("--start", help="What separated its documents in pretraining: none, bos, separator, or the text itself.")
@click.option("--n-ctx", type=int, help="The context it was trained for.")
@common_options
def add(alias: str, reference: str, session: Session, output: Output, **fields: str | int | None) -> None:
    """Give a model a name in your own models.toml.

    REFERENCE is the path of a GGUF file or hf:OWNER/REPO:FILE[@REVISION]. Nothing is fetched or copied.
    """
    known = registry.load()
    given = {key: value for key, value in fields.items() if value is not None}
    written = registry.add_model(alias, {**shelf.source_fields(known.find(reference)), **given}, registry=known)
    words = f"{alias} is now {reference}, in {written}"
    output.answer({"model": alias, "registry": str(written)}, [alias], [words], indent=2)


# --- Fetching and verifying ------------------------------------------------------------------------------------------


def _pulled(entry: ModelEntry, session: Session, output: Output) -> dict[str, Any]:
    with session.listener.moving_bytes() as on_bytes:
        return shelf.pull(entry, offline=session.offline, on_bytes=on_bytes, say=output.remark)


def _is_confirmed(entries: list[ModelEntry]) -> bool:
    names = ", ".join(visible(entry.reference) for entry in entries)
    unasked = "rm asks before it removes, and nobody can answer here. Give --yes to remove."
    return is_confirmed(f"Remove {names} from the Hugging Face cache?", unasked)

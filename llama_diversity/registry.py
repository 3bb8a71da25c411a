"""models.toml: which model files have a name, and which of them belong together.

It knows the packaged table and the user's own, laid over it, and what a reference means. It refuses to know whether a
file is on this machine (hub), what is inside it (engines) and what it is for (studies).

A reference is what a user types for a model: an alias of the table, `hf:OWNER/REPO:FILE[@REVISION]`, the path of a
file, `scripted:NAME`, `vllm:URL/NAME` of one on a server, or `ollama:NAME` and `lmstudio:PUBLISHER/REPO/FILE` as those
programs call it. Errors in a table name its file and line.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from llama_diversity import gguf, neighbours, paths
from llama_diversity.errors import BadUsage, BadValue, LlamadivError, ModelFileError, NoHome, RegistryError, UnknownName
from llama_diversity.mixtures import is_mixture, parse_mixture
from llama_diversity.served import Served, is_served, parse_served, plain_url, urls_problem, without_secrets

ROLES = ("base", "sft", "dpo", "aligned", "embed")
_DATA = Path(str(resources.files("llama_diversity"))) / "data"
_TEMPLATES = _DATA / "templates"
LIST_COMMAND = "llamadiv models ls"
HF_FORM = "it must look like hf:OWNER/REPO:FILE or hf:OWNER/REPO:FILE@REVISION"

_HF_REFERENCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+):(?P<file>[^@:\s]+)(?:@(?P<revision>[^@:\s]+))?", re.ASCII)
_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_ALIAS = re.compile(r"\w[\w.-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")

_PREFIXES = ("hf:", "scripted:", "vllm:", *neighbours.PREFIXES)
_TABLES = ("models", "pairs", "ladders")
_SERVED_FIELDS: dict[str, type] = {"engine": str, "urls": list, "name": str, "tokenizer": str, "digest": str}
_FILE_FIELDS = ("repo", "file", "path", "packaged", "revision", "sha256", "size_bytes")  # what a server has not
_MODEL_FIELDS: dict[str, type] = {
    **_SERVED_FIELDS,
    "repo": str,
    "file": str,
    "path": str,
    "packaged": str,
    "revision": str,
    "sha256": str,
    "size_bytes": int,
    "role": str,
    "family": str,
    "licence": str,
    "template": str,
    "start": str,
    "n_ctx": int,
}
_PAIR_FIELDS: dict[str, type] = {"base": str, "aligned": str}
_LADDER_FIELDS: dict[str, type] = {"rungs": list}
_KINDS = {str: "a text in quotes", int: "a whole number", list: "a list"}


@dataclass(frozen=True)
class ModelEntry:
    """A model and where its file may be had: on the hub (`repo`, `file`), at a `path`, or nowhere (`chain`, `served`).

    `tokenizer` of `served` is a reference, or a path; of an alias it is whole.
    """

    reference: str
    repo: str | None = None
    file: str | None = None
    path: Path | None = None
    chain: str | None = None  # of the scripted engine
    served: Served | None = None  # by vLLM
    revision: str | None = None
    sha256: str | None = None
    digest: str | None = None  # of the weights that are served
    size_bytes: int | None = None
    role: str | None = None
    family: str | None = None
    licence: str | None = None
    template: str | None = None  # "gguf", "none", the name of a format, or the path of a Jinja file
    start: str | None = None  # what its documents begin with: "none", "bos", "separator", or a text
    n_ctx: int | None = None
    defined_in: Path | None = None  # the models.toml; None for what is not an alias

    @property
    def is_packaged(self) -> bool:
        """Whether its file came with llamadiv."""
        return self.path is not None and self.path.parent == _DATA

    def chat_template(self) -> str | None:
        """What stands for the template in its file, "" for none; None where that one holds. Raises RegistryError."""
        if self.template in (None, "gguf"):
            return None
        if self.template == "none":
            return ""
        if self.template in template_names():
            return (_TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")
        try:
            return Path(self.template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise RegistryError(
                self.defined_in,
                None,
                f"the template of {self.reference}, {self.template}, cannot be read ({reason})",
                next_step="Correct its path there.",
            ) from error


def template_names() -> list[str]:
    """The chat formats that are packaged, for files that carry no template or the wrong one."""
    return sorted(file.name.removesuffix(".jinja") for file in _TEMPLATES.iterdir() if file.name.endswith(".jinja"))


@dataclass(frozen=True)
class Pair:
    """The pretrained model and its post-trained sibling, by reference."""

    name: str
    base: str
    aligned: str


@dataclass(frozen=True)
class Ladder:
    """Stages of one family in training order, by reference."""

    name: str
    rungs: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """Every model, pair and ladder that has a name."""

    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    ladders: Mapping[str, Ladder] = field(default_factory=dict)

    def find(self, reference: str) -> ModelEntry:
        """What `reference` means. Raises UnknownName, BadUsage for a pair, BadValue, ModelFileError."""
        if reference in self.models:
            return self.models[reference]
        if is_mixture(reference):
            raise BadValue("NAME", reference, "a mixture has no file of its own; name its models one by one")
        if reference.startswith("hf:"):
            return _hub_entry(reference)
        if reference.startswith("scripted:"):
            return self._scripted_entry(reference)
        if is_served(reference):
            return ModelEntry(reference, served=parse_served(reference))
        if neighbours.is_neighbour(reference):
            return ModelEntry(reference, path=neighbours.locate(reference))
        if _looks_like_path(reference) or os.path.isfile(reference):
            return _path_entry(reference)
        if reference in self.pairs:
            pair = self.pairs[reference]
            raise BadUsage(
                f"{reference} is a pair, not a model. Name one of its models: {pair.base} or {pair.aligned}."
            )
        raise UnknownName("model", reference, self.models, list_command=LIST_COMMAND)

    def pair(self, name: str) -> Pair:
        """The pair called `name`. Raises UnknownName."""
        if name not in self.pairs:
            raise UnknownName("pair", name, self.pairs, list_command=LIST_COMMAND)
        return self.pairs[name]

    def ladder(self, name: str) -> Ladder:
        """The ladder called `name`. Raises UnknownName."""
        if name not in self.ladders:
            raise UnknownName("ladder", name, self.ladders, list_command=LIST_COMMAND)
        return self.ladders[name]

    def entries(self) -> list[ModelEntry]:
        """Every model with a name of its own, and those that only pairs and ladders name."""
        members = [member for pair in self.pairs.values() for member in (pair.base, pair.aligned)]
        members += [member for ladder in self.ladders.values() for member in ladder.rungs]
        single = [one for member in members for one in self.models_of(member)]
        others = [member for member in dict.fromkeys(single) if member not in self.models]
        return [*self.models.values(), *map(self._unchecked, others)]

    def _unchecked(self, member: str) -> ModelEntry:
        """A path stands here whether its file exists or not: a list must not fail for a disk that is not plugged in."""
        if _looks_like_path(member):
            return ModelEntry(member, path=_expanded(member))
        try:
            return self.find(member)
        except LlamadivError:
            if not neighbours.is_neighbour(member):
                raise
            return ModelEntry(member, path=Path(member))

    @staticmethod
    def models_of(member: str) -> tuple[str, ...]:
        """Those of a mixture, or the one that is named."""
        return parse_mixture(member).models if is_mixture(member) else (member,)

    def _scripted_entry(self, reference: str) -> ModelEntry:
        chain = reference.removeprefix("scripted:")
        if not chain:
            raise BadValue("model", reference, "it must look like scripted:NAME, for example scripted:base")
        bases = {pair.base for pair in self.pairs.values()}
        aligned = {pair.aligned for pair in self.pairs.values()}
        role = "base" if reference in bases else "aligned" if reference in aligned else None
        return ModelEntry(reference, chain=chain, role=role, family="scripted")


def _hub_entry(reference: str) -> ModelEntry:
    match = _HF_REFERENCE.fullmatch(reference)
    problem = _hub_problem(match)
    if match is None or problem:
        raise BadValue("model", reference, problem or HF_FORM)
    return ModelEntry(reference, repo=match["repo"], file=match["file"], revision=match["revision"])


def _hub_problem(match: re.Match[str] | None) -> str | None:
    """What is wrong with a reference to a file on the hub."""
    if match is None or not is_repo(match["repo"]) or not _is_inside_repo(match["file"]):
        return HF_FORM
    if _is_first(match["file"]):
        return None
    revision = f"@{match['revision']}" if match["revision"] else ""
    return (
        f"that is a later file of a split model; name the first, hf:{match['repo']}:{_first(match['file'])}{revision}"
    )


def _looks_like_path(reference: str) -> bool:
    if reference.startswith(_PREFIXES):
        return False
    separators = [os.sep, *([os.altsep] if os.altsep else [])]
    return reference.lower().endswith(".gguf") or any(separator in reference for separator in separators)


def _path_entry(reference: str) -> ModelEntry:
    if "://" in reference:
        raise BadValue("model", without_secrets(reference), f"an address is no reference; {HF_FORM}, or vllm:URL/NAME")
    path = _expanded(reference)
    if os.path.isdir(path):
        raise ModelFileError(reference, "this is a folder", next_step="Name the GGUF file inside it.")
    if not os.path.isfile(path):
        raise ModelFileError(
            reference, "there is no such file", next_step=f"Check the path; `{LIST_COMMAND}` lists models by name."
        )
    return ModelEntry(reference, path=path)


def _expanded(reference: str) -> Path:
    # Not Path.expanduser, which raises for the home of an unknown user.
    return Path(os.path.expanduser(reference))


# --- Reading ---------------------------------------------------------------------------------------------------------


def load() -> Registry:
    """The packaged table with the user's models.toml laid over it, whole entries at a time. Raises RegistryError."""
    registry = _overlay(Registry(), _read(_packaged_path()))
    try:
        user = paths.user_registry()
    except NoHome:
        return registry
    return _overlay(registry, _read(user)) if user.exists() else registry


def _packaged_path() -> Path:
    """The table inside the wheel, or in a checkout the one beside the package."""
    inside = _DATA / "models.toml"
    return inside if inside.is_file() else Path(__file__).resolve().parent.parent / "models.toml"


@dataclass(frozen=True)
class _Document:
    """One models.toml: its values, and its text for the line of an error."""

    path: Path
    text: str
    values: dict[str, Any]

    def error(self, keys: tuple[str, ...], reason: str) -> RegistryError:
        """The error for the value at `keys`, with its line or that of the nearest table around it."""
        lines = _lines_of_keys(self.text)
        found = [lines[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in lines]
        return RegistryError(self.path, found[0] if found else 1, reason)


def _read(path: Path) -> _Document:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
        raise RegistryError(path, None, reason, next_step="Check the file and its permissions.") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RegistryError(path, data.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text") from error
    try:
        return _Document(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line, reason = _place_in_toml_error(str(error), text)
        raise RegistryError(path, line, reason) from error
    except ValueError as error:  # Python reads no number of more than 4,300 digits
        number = re.search(r"[\d_]{4301}", text)
        place = text.count("\n", 0, number.start()) + 1 if number else None
        raise RegistryError(path, place, "this number has thousands of digits") from error
    except RecursionError as error:
        raise RegistryError(path, None, "it is nested too deeply", next_step="Write it plainer.") from error


def _place_in_toml_error(message: str, text: str) -> tuple[int, str]:
    # "Expected '=' after a key (at line 3, column 6)" or "... (at end of document)"
    match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    last = text.count("\n") + (not text.endswith("\n"))
    line = int(match[1]) if match and match[1] else last
    reason = message[: match.start()] if match else message
    return line, reason[:1].lower() + reason[1:]


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each table or key first appears; what stands inside an inline table has none."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        keys: tuple[str, ...] = ()
        if stripped.startswith("["):
            keys = table = _keys_of(stripped) or table
        elif "=" in stripped and not stripped.startswith("#"):
            inner = _keys_of(f"{stripped.partition('=')[0]} = 0")
            keys = table + inner if inner else ()
        for depth in range(1, len(keys) + 1):
            lines.setdefault(keys[:depth], number)
    return lines


def _keys_of(line: str) -> tuple[str, ...]:
    """The keys that one line of TOML sets, () for a line that is none by itself (inside a longer value)."""
    try:
        value: Any = tomllib.loads(line)
    except (ValueError, RecursionError):
        return ()
    keys = []
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        keys.append(key)
    return tuple(keys)


# --- Checking --------------------------------------------------------------------------------------------------------


def _overlay(below: Registry, document: _Document) -> Registry:
    """`below` with the entries of `document` over it. Models come first, since pairs and ladders name them."""
    for name in document.values:
        if name not in _TABLES:
            raise document.error((name,), f"{name!r} is no table of a models.toml{_near(name, _TABLES)}")
    models = {name: _model(document, name, fields) for name, fields in _tables(document, "models")}
    registry = replace(below, models={**below.models, **models})
    pairs = {name: _pair(document, name, fields, registry.models) for name, fields in _tables(document, "pairs")}
    ladders = {name: _ladder(document, name, fields, registry.models) for name, fields in _tables(document, "ladders")}
    return replace(registry, pairs={**below.pairs, **pairs}, ladders={**below.ladders, **ladders})


def _tables(document: _Document, kind: str) -> Iterable[tuple[str, dict[str, Any]]]:
    tables = document.values.get(kind, {})
    if not isinstance(tables, dict):
        raise document.error((kind,), f"{kind!r} must be a table: write [{kind}.NAME]")
    for name, fields in tables.items():
        if not isinstance(fields, dict):
            raise document.error((kind, name), f"{kind}.{name} must be a table: write [{kind}.{_quoted(name)}]")
        if not _ALIAS.fullmatch(name) or name.lower().endswith(".gguf"):
            reason = f"{name!r} cannot be a name: use letters, digits, '.', '-' and '_', and not the ending .gguf"
            raise document.error((kind, name), reason)
        yield name, fields


def _model(document: _Document, name: str, fields: dict[str, Any]) -> ModelEntry:
    where = ("models", name)
    _check_fields(document, where, fields, _MODEL_FIELDS)
    _check_served(document, where, fields) if "engine" in fields else _check_source(document, where, fields)
    for key, accepts, allowed in (
        ("repo", is_repo, "OWNER/NAME as on the hub"),
        ("file", _is_inside_repo, "a path inside the repository"),
        ("file", _is_first, "the first file of a split model, which stands for all"),
        ("packaged", _is_inside_repo, "the name of a file that llamadiv ships"),
        ("role", ROLES.__contains__, "one of " + ", ".join(ROLES)),
        ("template", _is_template, f"gguf, none, a file that ends in .jinja, or one of {', '.join(template_names())}"),
        ("start", (lambda start: start != "auto"), "none, bos, separator, or the text that documents begin with"),
        ("sha256", _SHA256.fullmatch, "64 hexadecimal digits in lower case"),
        ("digest", _SHA256.fullmatch, "64 hexadecimal digits in lower case, as `llamadiv models verify` shows them"),
        ("size_bytes", (0).__lt__, "a positive number"),
        ("n_ctx", (0).__lt__, "a positive number"),
    ):
        if key in fields and not accepts(fields[key]):
            raise document.error((*where, key), f"{key} is {fields[key]!r}; it must be {allowed}")
    given = dict(fields)
    if "packaged" in given:
        given["path"] = _DATA / given.pop("packaged")
    elif "path" in given:
        given["path"] = document.path.parent / _expanded(given["path"])
    if _is_jinja_file(given.get("template", "")):
        given["template"] = str(document.path.parent / _expanded(given["template"]))
    if given.pop("engine", None):
        tokenizer = given.pop("tokenizer", "")
        if _looks_like_path(tokenizer):
            tokenizer = str(document.path.parent / _expanded(tokenizer))
        given["served"] = Served(tuple(map(plain_url, given.pop("urls"))), given.pop("name"), tokenizer)
    return ModelEntry(name, **given, defined_in=document.path)


def _is_template(name: str) -> bool:
    return name in ("gguf", "none") or name in template_names() or _is_jinja_file(name)


def _is_jinja_file(name: str) -> bool:
    return name.lower().endswith((".jinja", ".jinja2", ".j2"))


def is_repo(repo: str) -> bool:
    """Whether it is a name that a repository of the hub can have."""
    return bool(_REPO.fullmatch(repo)) and "--" not in repo and ".." not in repo


def _is_inside_repo(file: str) -> bool:
    return not file.startswith("/") and "\\" not in file and ".." not in file.split("/")


def _first(file: str) -> str:
    folder, slash, name = file.rpartition("/")
    return folder + slash + gguf.first_shard_name(name)


def _is_first(file: str) -> bool:
    return _first(file) == file


def _check_served(document: _Document, where: tuple[str, ...], fields: dict[str, Any]) -> None:
    """A model on servers: which, and under which name. An address is not repeated, as it may hold a password."""
    if fields["engine"] != "vllm":
        raise document.error((*where, "engine"), f"engine is {fields['engine']!r}; it must be vllm, or left out")
    for key in ("urls", "name"):
        if key not in fields:
            raise document.error(where, f"{'.'.join(where)} has no {key}: a model on servers needs urls and name")
    for key in _FILE_FIELDS:
        if key in fields:
            raise document.error((*where, key), f"{key} is of a model with a file; on servers it has urls and name")
    urls = fields["urls"]
    problem = "it must be a list of addresses in quotes"
    if urls and all(isinstance(url, str) for url in urls):
        found = urls_problem(urls)
        if found is None:
            return
        problem = found
    raise document.error((*where, "urls"), f"urls cannot be used: {problem}")


def _check_source(document: _Document, where: tuple[str, ...], fields: dict[str, Any]) -> None:
    for key in _SERVED_FIELDS:
        if key in fields:
            raise document.error((*where, key), f'{key} is of a model on servers, which needs engine = "vllm"')
    places = [key for key in ("path", "packaged") if key in fields]
    if len(places) == 2 or (places and ("repo" in fields or "file" in fields or "revision" in fields)):
        raise document.error((*where, places[0]), "a model has either a path or repo and file, not both")
    if not places:
        for key in ("repo", "file"):
            if key not in fields:
                raise document.error(where, f"{'.'.join(where)} has no {key}: it needs repo and file, or a path")


def _pair(document: _Document, name: str, fields: dict[str, Any], models: Collection[str]) -> Pair:
    where = ("pairs", name)
    _check_fields(document, where, fields, _PAIR_FIELDS)
    for key in _PAIR_FIELDS:
        if key not in fields:
            raise document.error(where, f"pairs.{name} has no {key}")
        _check_member(document, (*where, key), fields[key], models)
    return Pair(name, **fields)


def _ladder(document: _Document, name: str, fields: dict[str, Any], models: Collection[str]) -> Ladder:
    where = ("ladders", name)
    _check_fields(document, where, fields, _LADDER_FIELDS)
    rungs = fields.get("rungs", [])
    if len(rungs) < 2:
        raise document.error((*where, "rungs"), f"ladders.{name} needs at least two rungs")
    for rung in rungs:
        _check_member(document, (*where, "rungs"), rung, models)
    return Ladder(name, tuple(rungs))


def _check_member(document: _Document, where: tuple[str, ...], member: object, models: Collection[str]) -> None:
    if not isinstance(member, str):
        raise document.error(where, f"{where[-1]} names {member!r}; it must name a model")
    if is_mixture(member):
        try:
            parts = parse_mixture(member).models
        except BadValue as error:
            raise document.error(where, str(error).rstrip(".")) from error
        for part in parts:
            _check_member(document, where, part, models)
        return
    if member.startswith("hf:"):
        problem = _hub_problem(_HF_REFERENCE.fullmatch(member))
        if problem:
            raise document.error(where, f"{where[-1]} is {member!r}; {problem}")
    if is_served(member):
        try:
            parse_served(member)
        except BadValue as error:
            raise document.error(where, str(error).rstrip(".")) from error
    has_form = member.startswith(_PREFIXES) or _looks_like_path(member)
    if member not in models and not has_form:
        raise document.error(where, f"{where[-1]} names {member!r}, which is no model here{_near(member, models)}")


def _check_fields(
    document: _Document, where: tuple[str, ...], fields: dict[str, Any], known: Mapping[str, type]
) -> None:
    for key, value in fields.items():
        if isinstance(value, dict):
            name = _quoted(f"{where[-1]}.{key}")
            reason = f"{'.'.join(where)}.{key} is a table; a name with a dot needs quotes: [{where[0]}.{name}]"
            raise document.error((*where, key), reason)
        if key not in known:
            raise document.error((*where, key), f"{where[0]} have no field {key!r}{_near(key, known)}")
        # bool is an int to Python, not to a reader
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise document.error((*where, key), f"{key} is {value!r}; it must be {_KINDS[known[key]]}")
        if isinstance(value, str) and not (value if key == "start" else value.strip()):  # a line break is a start
            raise document.error((*where, key), f"{key} is empty")


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


# --- Writing ---------------------------------------------------------------------------------------------------------


def add_model(alias: str, fields: Mapping[str, str | int | Sequence[str]], *, registry: Registry) -> Path:
    """Append a model to the user's models.toml, whose present text stays as it is. Raises BadValue, RegistryError."""
    if not _ALIAS.fullmatch(alias) or alias.lower().endswith(".gguf"):
        raise BadValue("ALIAS", alias, "use letters, digits, '.', '-' and '_', and not the ending .gguf")
    if alias in registry.models:
        place = registry.models[alias].defined_in
        raise BadValue("ALIAS", alias, f"{place} has it already; choose another name or edit that file")
    if _is_jinja_file(str(fields.get("template", ""))):  # typed from here, read from beside models.toml
        fields = {**fields, "template": str(_expanded(str(fields["template"])).absolute())}
    path = paths.user_registry().resolve()  # a link into a folder of dotfiles stays a link
    before = _read(path).text if path.exists() else ""
    block = "".join(f"{key} = {_toml_value(value)}\n" for key, value in fields.items())
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    text = f"{before}{gap}[models.{_quoted(alias)}]\n{block}"
    try:
        _overlay(registry, _Document(path, text, tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        line, reason = _place_in_toml_error(str(error), text)
        raise RegistryError(path, line, f"nothing can be appended to it: {reason}") from error
    _write(path, text)
    return path


def _toml_value(value: str | int | Sequence[str]) -> str:
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return f"[{', '.join(map(_toml_value, value))}]"
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quoted(name: str) -> str:
    """`name` as one key of TOML."""
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _toml_value(name)


def _write(path: Path, text: str) -> None:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadValue("REFERENCE", str(error.object[error.start : error.end]), "it must be UTF-8 text") from error
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        if path.exists():
            shutil.copymode(path, unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        reason = f"it cannot be written ({error.strerror})"
        raise RegistryError(path, None, reason, next_step="Check the permissions of its folder.") from error

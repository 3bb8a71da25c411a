"""Does any damaged file bring a command down?

    bin/fuzz [N] [--seed S] [--only KIND,...] [--keep FOLDER]

Damages N files, each in a way that its kind, its number and the seed determine, and gives them to the commands that
read such files: headers and metadata of GGUF files, chat templates, models.toml, prompts files and stores. A case is a
process of its own, forked from one that has imported everything, with a time limit. What may come of it: a result, or
one sentence and an exit code of ours. What must not: a traceback, a Python warning, a hang, a death, a failure without
a sentence. Exits with 1 where one of these came, and says which case; --keep leaves the files of those cases.

What it finds in other software is reported in words; no file that does harm is kept in the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LIMIT_S = 150  # more than a model's first opening is given
MEMORY_BYTES = 6 << 30
DATA = Path(__file__).resolve().parent.parent / "llama_diversity" / "data"
OUR_CODES = {0, 1, 2, 3}
Command = list[str]
Random = random.Random


# ---- what is damaged


class Seeds:
    """Whole files of every kind, made once in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def models(self) -> list[Path]:
        """GGUF files: packaged ones, and small random ones of several architectures."""
        made = self._folder / "models"
        if not made.exists():
            made.mkdir()
            self._write_models(made)
        return sorted(made.iterdir())

    def _write_models(self, folder: Path) -> None:
        from llama_diversity.lab.random_gguf import SHAPES, write_model

        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
        import other_architectures

        write_model(folder / "llama.gguf", SHAPES["tiny"], n_vocab=300, quantization="F16")
        write_model(folder / "q8.gguf", SHAPES["tiny"], n_vocab=300, quantization="Q8_0", chat_template=None)
        other_architectures.write_mamba(folder / "mamba.gguf")
        other_architectures.write_gemma2(folder / "gemma2.gguf")
        shutil.copy(DATA / "tiny-aligned.gguf", folder / "aligned.gguf")

    def store(self) -> Path:
        """A store with runs of several commands."""
        path = self._folder / "store.sqlite"
        if not path.exists():
            for words in (
                ["sample", "-m", "scripted:base", "-p", "She", "-n", "3", "--max-tokens", "6"],
                ["sample", "-m", "tiny-aligned", "--chat", "-p", "Hi", "-n", "2", "--max-tokens", "4"],
                ["syntactic", "--pair", "scripted", "-n", "4", "--max-tokens", "6"],
            ):
                run(Case("seed", 0, self._folder, [[*words, "--store", str(path)]]))
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
            connection.close()
        return path


class Case(NamedTuple):
    """One damaged file in `folder` and the commands that read it."""

    kind: str
    number: int
    folder: Path
    commands: list[Command]


def case_of(kind: str, number: int, seed: int, folder: Path, seeds: Seeds) -> Case:
    """The case with this number: the same for the same seed."""
    chance = random.Random(f"{seed}/{kind}/{number}")
    return Case(kind, number, folder, KINDS[kind](chance, folder, seeds))


# ---- GGUF


def damaged_model(chance: Random, folder: Path, seeds: Seeds) -> list[Command]:
    whole = chance.choice(seeds.models()).read_bytes()
    damage = chance.choice([flipped, cut, *[edited] * 6])
    path = folder / "model.gguf"
    path.write_bytes(damage(chance, whole))
    model = ["-m", str(path)]
    return [
        chance.choice(
            [
                ["sample", *model, "-p", "Once", "-n", "1", "--max-tokens", "2"],
                ["sample", *model, "-p", "Once", "-n", "1", "--max-tokens", "2", "--chat", "--system", "Be brief."],
                ["score", *model, "some text é"],
                ["tree", "--base", str(path), "--aligned", "tiny-aligned", "-p", "Once"],
                ["models", "show", str(path)],
            ]
        )
    ]


def flipped(chance: Random, whole: bytes) -> bytes:
    """Some bytes of the header replaced."""
    content, end = bytearray(whole), Gguf.read(whole).data_start
    for _ in range(chance.choice([1, 2, 8, 64])):
        content[chance.randrange(end)] = chance.randrange(256)
    return bytes(content)


def cut(chance: Random, whole: bytes) -> bytes:
    """Only a beginning is there."""
    return whole[: chance.randrange(chance.choice([Gguf.read(whole).data_start, len(whole)]))]


def edited(chance: Random, whole: bytes) -> bytes:
    """A header that is whole as a format and says something else."""
    file = Gguf.read(whole)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        chance.choice(
            [edit_number, edit_number, edit_text, edit_array, edit_key, edit_type, edit_tensor, edit_tensor, edit_kind]
        )(chance, file)
    return file.written()


class Gguf:
    """A GGUF file in pieces: metadata as (key, type, bytes of the value), tensors as (name, shape, type, offset)."""

    FIXED = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?QqD".replace("D", "d"), strict=True))

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, int, bytes]] = []
        self.tensors: list[tuple[bytes, tuple[int, ...], int, int]] = []
        self.data = b""
        self.data_start = 0

    @classmethod
    def read(cls, content: bytes) -> Gguf:
        """The pieces of a file that is whole."""
        file, at = cls(), 24
        _, _, n_tensors, n_pairs = struct.unpack_from("<IIQQ", content)
        for _ in range(n_pairs):
            key, at = cls._text(content, at)
            (kind,) = struct.unpack_from("<I", content, at)
            end = cls._end(content, at + 4, kind)
            file.pairs.append((key, kind, content[at + 4 : end]))
            at = end
        for _ in range(n_tensors):
            name, at = cls._text(content, at)
            (n_dimensions,) = struct.unpack_from("<I", content, at)
            *shape, kind, offset = struct.unpack_from(f"<{n_dimensions}QIQ", content, at + 4)
            file.tensors.append((name, tuple(shape), kind, offset))
            at += 4 + 8 * n_dimensions + 12
        file.data_start = -(-at // 32) * 32
        file.data = content[file.data_start :]
        return file

    @staticmethod
    def _text(content: bytes, at: int) -> tuple[bytes, int]:
        (length,) = struct.unpack_from("<Q", content, at)
        return content[at + 8 : at + 8 + length], at + 8 + length

    @classmethod
    def _end(cls, content: bytes, at: int, kind: int) -> int:
        if kind == 8:
            return cls._text(content, at)[1]
        if kind != 9:
            return at + struct.calcsize(f"<{cls.FIXED[kind]}")
        element, length = struct.unpack_from("<IQ", content, at)
        at += 12
        for _ in range(length if element == 8 else 0):
            at = cls._text(content, at)[1]
        return at if element == 8 else at + length * struct.calcsize(f"<{cls.FIXED[element]}")

    def written(self) -> bytes:
        """The file of these pieces."""
        out = [struct.pack("<IIQQ", 0x46554747, 3, len(self.tensors), len(self.pairs))]
        for key, kind, value in self.pairs:
            out += [packed(key), struct.pack("<I", kind), value]
        for name, shape, kind, offset in self.tensors:
            out += [packed(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)]
        header = b"".join(out)
        return header + bytes(-len(header) % 32) + self.data

    def one(self, chance: Random, kinds: Sequence[int]) -> int | None:
        """The place of some pair of one of these types."""
        places = [at for at, (_, kind, _) in enumerate(self.pairs) if kind in kinds]
        return chance.choice(places) if places else None


def packed(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def edit_number(chance: Random, file: Gguf) -> None:
    at = file.one(chance, tuple(Gguf.FIXED))
    if at is None:
        return
    key, kind, value = file.pairs[at]
    size = len(value)
    small = chance.choice([0, 1, 2, 3, 7, 255, 256, 513, 65535, chance.randrange(1 << 16)]).to_bytes(8, "little")
    extreme = chance.choice([b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 7 + b"\x80", chance.randbytes(8)])
    file.pairs[at] = key, kind, chance.choice([small, small, extreme])[:size]


def edit_text(chance: Random, file: Gguf) -> None:
    at = file.one(chance, (8,))
    if at is None:
        return
    key, kind, value = file.pairs[at]
    text = value[8:]
    file.pairs[at] = key, kind, packed(other_text(chance, text))


def other_text(chance: Random, text: bytes) -> bytes:
    """Another text in its place."""
    place = chance.randrange(len(text) + 1)
    return chance.choice(
        [
            b"",
            b"\0",
            b"\xff\xfe",
            b"x" * 5000,
            b"none",
            b"gpt2",
            b"bert",
            b"t5",
            b"rwkv",
            text[:place],
            text[:place] + chance.randbytes(3) + text[place:],
            text * 2,
        ]
    )


def edit_array(chance: Random, file: Gguf) -> None:
    at = file.one(chance, (9,))
    if at is None:
        return
    key, kind, value = file.pairs[at]
    element, length = struct.unpack_from("<IQ", value)
    if element == 8:
        items, place = [], 12
        for _ in range(length):
            item, place = Gguf._text(value, place)
            items.append(packed(item))
    else:
        size = struct.calcsize(f"<{Gguf.FIXED[element]}")
        items = [value[start : start + size] for start in range(12, len(value), size)]
    for _ in range(chance.choice([1, 1, 3])):
        edit_items(chance, items, is_text=element == 8)
    file.pairs[at] = key, kind, struct.pack("<IQ", element, len(items)) + b"".join(items)


def edit_items(chance: Random, items: list[bytes], *, is_text: bool) -> None:
    if not items:
        return
    place = chance.randrange(len(items))
    what = chance.choice(["short", "drop", "again", "other", "other", "empty"])
    if what == "short":
        del items[place:]
    elif what == "drop":
        del items[place]
    elif what == "again":
        items.append(items[place])
    elif what == "empty":
        items.clear()
    elif is_text:
        items[place] = packed(other_text(chance, items[place][8:]))
    else:
        items[place] = chance.randbytes(len(items[place]))


def edit_key(chance: Random, file: Gguf) -> None:
    at = chance.randrange(len(file.pairs))
    key, kind, value = file.pairs[at]
    what = chance.choice(["drop", "drop", "again", "rename"])
    if what == "drop":
        del file.pairs[at]
    elif what == "again":
        file.pairs.append(file.pairs[at])
    else:
        file.pairs[at] = other_text(chance, key), kind, value


def edit_type(chance: Random, file: Gguf) -> None:
    """A value of another type under a known key."""
    at, other = chance.randrange(len(file.pairs)), chance.randrange(len(file.pairs))
    file.pairs[at] = file.pairs[at][0], *file.pairs[other][1:]


def edit_tensor(chance: Random, file: Gguf) -> None:
    at = chance.randrange(len(file.tensors))
    name, shape, kind, offset = file.tensors[at]
    what = chance.choice(["drop", "name", "shape", "turned", "type", "offset"])
    if what == "drop":
        del file.tensors[at]
        return
    if what == "name":
        name = other_text(chance, name)
    elif what == "shape":
        place = chance.randrange(len(shape))
        changed = chance.choice([0, 1, shape[place] - 1, shape[place] * 2, 1 << 31, (1 << 63) - 1])
        shape = (*shape[:place], changed, *shape[place + 1 :])
    elif what == "turned":
        shape = chance.choice([shape[::-1], (*shape, 1), shape[:1]])
    elif what == "type":
        kind = chance.randrange(50)
    else:
        offset = chance.choice([0, offset + 1, offset + 32, len(file.data), 1 << 40, (1 << 64) - 32])
    file.tensors[at] = name, shape, kind, offset


def edit_kind(chance: Random, file: Gguf) -> None:
    """A key that makes another kind of file of it, or asks for more than there is."""
    architecture = next((value[8:] for key, _, value in file.pairs if key == b"general.architecture"), b"llama")
    number = struct.pack("<I", chance.choice([0, 1, 2, 3, 4, 40, 1 << 31]))
    name = chance.choice(
        [
            b".pooling_type",
            b".nextn_predict_layers",
            b".expert_count",
            b".attention.sliding_window",
            b".rope.dimension_count",
            b".attention.key_length",
            b".attention.value_length",
            b".attention.head_count_kv",
            b".block_count",
            b".vocab_size",
        ]
    )
    file.pairs = [pair for pair in file.pairs if pair[0] != architecture + name]
    file.pairs.append((architecture + name, 4, number))
    if chance.random() < 0.2:
        file.pairs.append((b"split.count", 2, struct.pack("<H", chance.choice([0, 1, 2, 9]))))


# ---- texts: templates, tables, prompts


def damaged_template(chance: Random, folder: Path, seeds: Seeds) -> list[Command]:
    texts = [path.read_text("utf-8") for path in sorted((DATA / "templates").glob("*.jinja"))]
    template = garbled(chance, chance.choice(texts), JINJA, r"%}\n?|}}")
    (folder / "home").mkdir()
    (folder / "home" / "chat.jinja").write_text(template, "utf-8", "surrogatepass")
    (folder / "home" / "models.toml").write_text(
        f'[models.mine]\npath = "{DATA / "tiny-aligned.gguf"}"\ntemplate = "chat.jinja"\n'
    )
    words = ["sample", "-m", "mine", "--chat", "-p", chance.choice(["Hi", "{{ 1 }}", "</s>", " "]), "--show-prompt"]
    return [[*words, *chance.choice([[], ["--system", "Be brief."], ["--template-arg", "enable_thinking=false"]])]]


JINJA = (
    "{{ messages }}",
    "{{ messages[0] }}",
    "{{ messages[-1].content * 3 }}",
    "{% for m in messages %}",
    "{% endfor %}",
    "{% for i in range(10 ** 9) %}{% endfor %}",
    "{{ 'a' * 10 ** 9 }}",
    "{{ 2 ** 10 ** 9 }}",
    "{% if tools is not none %}",
    "{% endif %}",
    "{% set x = messages %}",
    "{{ x.append(1) }}",
    "{{ raise_exception('\x1b[2J no') }}",
    "{{ raise_exception(messages) }}",
    "{{ strftime_now(1) }}",
    "{{ strftime_now('%Q %') }}",
    "{{ bos_token + 1 }}",
    "{{ ''.__class__ }}",
    "{{ messages|tojson(indent=-3) }}",
    "{{ undefined.field }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% generation %}",
    "{% include 'x' %}",
    "{{ namespace(a=1).b }}",
    "{{ '%d' % 'a' }}",
    "{{ 1 // 0 }}",
    "{{ messages|sort }}",
    "{{ [1, 'a']|max }}",
    "{{ '\ud800' }}",
    "{#",
    "{%",
    "\0",
)


def damaged_table(chance: Random, folder: Path, seeds: Seeds) -> list[Command]:
    table = (
        f'[models.mine]\npath = "{DATA / "tiny-base.gguf"}"\nrole = "base"\nfamily = "f"\nn_ctx = 512\n'
        f'template = "none"\nlicence = "mit"\n[models.other]\npath = "{DATA / "tiny-sft.gguf"}"\nrole = "sft"\n'
        f'sha256 = "{64 * "0"}"\n[models.far]\nrepo = "a/b"\nfile = "c.gguf"\nrevision = "main"\nsize_bytes = 5\n'
        '[pairs.both]\nbase = "mine"\naligned = "other"\n[ladders.all]\nrungs = ["mine", "other"]\n'
    )
    (folder / "home").mkdir()
    (folder / "home" / "models.toml").write_text(garbled(chance, table, TOML, r"\n|= "), "utf-8", "surrogatepass")
    return [
        chance.choice(
            [
                ["models", "ls"],
                ["models", "ls", "--json"],
                ["models", "show", "mine"],
                ["models", "path", "other"],
                ["models", "show", "far"],
                ["sample", "-m", "mine", "-p", "a", "--show-prompt"],
                ["sample", "-m", "other", "-p", "a", "--show-prompt", "--chat"],
                ["semantic", "--pair", "both", "-n", "0"],
                ["syntactic", "--ladder", "all", "-n", "2", "--max-tokens", "2"],
            ]
        )
    ]


TOML = (
    "[", "]", "=", '"', "'''", "\n", "#", "{}", "[]", "nan", "-1\n", "1e999\n", "true\n", "1979-05-27\n", "7\n", '""\n',
    '"\\u0000"\n', '"/"\n', '"."\n', '"x"\n', '["a"]\n', "[[1]]\n", '"both"\n', '"all"\n', '"mine"\n', '"none"\n',
    '"gguf"\n', '"/nowhere.jinja"\n', '"../../x"\n', '"\\ud800"\n', '"\\u001b[2J"\n', "[models]\n", "models = 1\n",
    "[models.mine]\n", "[[models]]\n", "[pairs.x]\n", "[pairs.mine]\n",
    'base = "both"\n', 'rungs = "mine"\n', "rungs = []\n",
    '[models."a b\\n"]\n', 'scripted = "base"\n', 'packaged = "tiny-base.gguf"\n', "\0", "\ufeff", "\ud800", "\x1b[2J",
    f"{10**30}\n", "1" + "0" * 5000 + "\n", "[" * 3000 + "\n",
)  # fmt: skip


def damaged_prompts(chance: Random, folder: Path, seeds: Seeds) -> list[Command]:
    suffix = chance.choice([".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".JSONL", ".parquet", ""])
    texts = ["She was", "北京是", "He said: “no”", "a,b", "tab\there", "🙂 ok"]
    objects = [{"prompt": text, "id": at} for at, text in enumerate(texts)]
    if suffix.lower() in (".jsonl", ".ndjson"):
        whole = "\n".join(json.dumps(one) for one in chance.choice([texts, objects]))
    elif suffix == ".json":
        whole = json.dumps(chance.choice([texts, objects]))
    elif suffix in (".csv", ".tsv"):
        separator = "," if suffix == ".csv" else "\t"
        whole = "\n".join([f"prompt{separator}id", *(f'"{text}"{separator}{at}' for at, text in enumerate(texts))])
    else:
        whole = "\n".join(texts)
    content = garbled(chance, whole, PROMPTS, r"\n|[\[,:] ?").encode("utf-8", "surrogatepass")
    path = folder / f"prompts{suffix}"
    path.write_bytes(chance.choice([content] * 6 + [content + b"\xff\xfe", b"\xff\xfe" + content, content[:-3]]))
    words = ["compare", "--pair", "scripted", "--prompts", str(path), "-n", "2", "--max-tokens", "2"]
    if chance.random() < 0.9:  # whole comparisons embed, which takes seconds
        words += ["--store", "/dev/null/store.sqlite"]
    return [words]


PROMPTS = (
    "\n", "\r", "\r\n", "\0", "\ufeff", '"', "'", ",", "\t", "{", "}", "[", "]", "null", "NaN", "1e999", "[" * 3000,
    "true", "7", '""', '["a"]', '{"prompt": null}', '{"prompt": 7}', '{"prompt": ""}', '{"prompt": ["a"]}',
    '{"text": "a"}', '{"prompt": "a", "prompt": "b"}', '"\\ud800"', "\ud800", "x" * 200_000, '"\\u0000"', "prompt",
    "\x1b[2J", "#", " ",
)  # fmt: skip


def garbled(chance: Random, text: str, pieces: Sequence[str], joints: str) -> str:
    """`text` with pieces put in, parts taken out or repeated: mostly where `joints`, an expression, finds the ends of
    what belongs together, so that more than a parser sees it.
    """
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        places = [0, *(found.end() for found in re.finditer(joints, text)), len(text)]
        if chance.random() < 0.25:
            places = list(range(len(text) + 1))
        at = chance.randrange(len(places))
        here, there = places[at], places[min(at + chance.choice([1, 1, 2]), len(places) - 1)]
        what = chance.choice(["in", "in", "in", "instead", "instead", "out", "twice", "short"])
        piece = chance.choice(pieces)
        if what == "in":
            text = text[:here] + piece + text[here:]
        elif what == "instead":
            text = text[:here] + piece + text[there:]
        elif what == "out":
            text = text[:here] + text[there:]
        elif what == "twice":
            text = text[:there] + text[here:there] + text[there:]
        elif chance.random() < 0.3:
            text = text[:there]
    return text


# ---- stores


def damaged_store(chance: Random, folder: Path, seeds: Seeds) -> list[Command]:
    path = folder / "store.sqlite"
    shutil.copy(seeds.store(), path)
    chance.choice([store_bytes, store_values, store_values, store_values])(chance, path)
    last = chance.choice(["last", "last", "2"])
    return [
        [*words, "--store", str(path)]
        for words in chance.sample(
            [
                ["runs", "ls"],
                ["runs", "ls", "--json"],
                ["runs", "show", last],
                ["runs", "show", last, "--json"],
                ["runs", "export", last, "--out", str(folder / "out.jsonl")],
                ["runs", "export", last, "--out", str(folder / "out.parquet")],
                ["runs", "rm", last, "--yes"],
                ["heatmap", "--run", last],
                ["report", last, "--out", str(folder / "report")],
                ["syntactic", "--pair", "scripted", "-n", "4", "--max-tokens", "6"],
                ["sample", "-m", "scripted:base", "-p", "She", "-n", "3", "--max-tokens", "6"],
            ],
            k=2,
        )
    ]


def store_bytes(chance: Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 4, 64])):
        content[chance.randrange(chance.choice([100, 4096, len(content)]))] = chance.randrange(256)
    path.write_bytes(content[: chance.choice([len(content)] * 4 + [chance.randrange(len(content))])])


def store_values(chance: Random, path: Path) -> None:
    """Values of a wrong type or size where SQLite lets them be."""
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for _ in range(chance.choice([1, 1, 3])):
            table = chance.choice(tables)
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column = chance.choice(columns)
            value = chance.choice(
                [None, -1, 0, 7, 1 << 62, 1.5, "", "x", "[]", "{}", "null", '{"a": NaN}', b"", b"\xff", "[" * 3000, "{"]
                + [f"substr({column}, 1, 5)", f"{column} || {column}", f"-{column}"]
            )
            is_sql = isinstance(value, str) and column in value
            some = "" if chance.random() < 0.5 else f" WHERE abs(random()) % {chance.choice([2, 3])} = 0"
            try:
                if is_sql:
                    connection.execute(f"UPDATE {table} SET {column} = {value}{some}")
                else:
                    connection.execute(f"UPDATE {table} SET {column} = ?{some}", (value,))
            except sqlite3.Error:
                connection.execute(f"DROP TABLE {table}")
                break
    connection.close()


KINDS: dict[str, Callable[[Random, Path, Seeds], list[Command]]] = {
    "model": damaged_model,
    "template": damaged_template,
    "table": damaged_table,
    "prompts": damaged_prompts,
    "store": damaged_store,
}


# ---- running


class Ending(NamedTuple):
    """What came of a command: "result", "refused" or a fault, and what was said."""

    verdict: str
    command: Command
    said: str


def run(case: Case) -> list[Ending]:
    """The endings of a case's commands."""
    return [judged(words, *forked(words, case.folder)) for words in case.commands]


def forked(words: Command, folder: Path) -> tuple[int | None, str]:
    """Wait status of a forked process that runs the command line, None past the limit; and its standard error."""
    errors = folder / "stderr"
    child = os.fork()
    if not child:
        try:
            become(words, folder, errors)
        finally:
            os._exit(70)  # `main` has not exited by itself
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, errors.read_text("utf-8", "replace")
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, errors.read_text("utf-8", "replace")


def become(words: Command, folder: Path, errors: Path) -> None:
    """In the child: nothing of the caller's but the imported modules."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.chdir(folder)
    os.environ.update(LLAMADIV_HOME=str(folder / "home"), XDG_CACHE_HOME=str(folder / "cache"))
    os.environ.update(HF_HOME=str(folder / "hub"), LLAMADIV_OFFLINE="1")
    for stream, target in ((0, os.devnull), (1, os.devnull), (2, str(errors))):
        os.dup2(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = open(1, "w", encoding="utf-8"), open(2, "w", encoding="utf-8")
    from llama_diversity.cli import main

    try:
        main(words)
    except SystemExit as stopped:
        sys.stderr.flush()
        os._exit(stopped.code if isinstance(stopped.code, int) else 70)
    except BaseException:  # noqa: BLE001  whatever escapes is what is looked for
        import traceback

        traceback.print_exc()
        sys.stderr.flush()


def judged(words: Command, status: int | None, said: str) -> Ending:
    return Ending(_verdict(status, said), words, said)


def _verdict(status: int | None, said: str) -> str:
    if status is None:
        return "hang"
    if os.WIFSIGNALED(status):
        return "death"
    code = os.WEXITSTATUS(status)
    if "Traceback" in said or "defect of llamadiv" in said or re.search(r"\.py:\d+: \w*Warning", said):
        return "traceback"
    if code not in OUR_CODES:
        return "death"
    if code == 0:
        return "result"
    has_sentence = any(line.startswith(("llamadiv: ", "Error: ")) for line in said.splitlines())
    return "refused" if has_sentence else "no sentence"


FAULTS = ("traceback", "hang", "death", "no sentence")


def cases(n: int, seed: int, kinds: Sequence[str], folder: Path) -> Iterator[Case]:
    """`n` cases, of all kinds in turn, each in a fresh folder."""
    seeds = Seeds(folder)
    for number in range(n):
        kind = kinds[number % len(kinds)]
        place = folder / f"{kind}-{number}"
        place.mkdir()
        yield case_of(kind, number, seed, place, seeds)


def imported() -> None:
    """Import what the commands need, so that a case costs only its own work."""
    import importlib
    import pkgutil

    import llama_diversity.cli
    import llama_diversity.engines.llamacpp
    import llama_diversity.render.parquet
    import llama_diversity.store

    for found in pkgutil.iter_modules(llama_diversity.cli.__path__):
        importlib.import_module(f"llama_diversity.cli.{found.name}")


def main() -> int:
    """Run the cases and print what came of them."""
    parser = argparse.ArgumentParser(prog="bin/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="?", type=int, default=200, help="how many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(KINDS), help="kinds of files, by commas")
    parser.add_argument("--keep", type=Path, help="where the files of faults are left")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    imported()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for case in cases(asked.n, asked.seed, asked.only.split(","), Path(folder)):
            for ending in run(case):
                counts.setdefault(case.kind, Counter())[ending.verdict] += 1
                if ending.verdict in FAULTS:
                    report(case, ending, asked.seed)
                    if asked.keep:
                        shutil.copytree(case.folder, asked.keep / case.folder.name, dirs_exist_ok=True)
            shutil.rmtree(case.folder)
    verdicts = ("result", "refused", *FAULTS)
    print(f"{'commands on':12}" + "".join(f"{verdict:>13}" for verdict in verdicts))
    for kind, found in counts.items():
        print(f"{kind:12}" + "".join(f"{found[verdict]:13}" for verdict in verdicts))
    return int(any(found[fault] for found in counts.values() for fault in FAULTS))


def report(case: Case, ending: Ending, seed: int) -> None:
    """Say which case came to no good end."""
    tail = "\n    ".join(ending.said.strip().splitlines()[-6:])
    print(
        f"{ending.verdict}: {case.kind} {case.number} of seed {seed}: {' '.join(ending.command)}\n    {tail}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

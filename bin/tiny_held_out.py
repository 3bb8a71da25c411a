"""Held-out bits per byte of GGUF files that the lab grew, all on the same documents, each by its file's own tokens.

Which documents are held out depends on their text alone, so no model of the lab has read those of another corpus.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiny_samples import table

from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.errors import BadValue
from llama_diversity.lab import base, corpus
from llama_diversity.lab.corpus import Corpus
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.workshop import sha256_of
from llama_diversity.records import Asking, ModelRef

ROOT = Path(__file__).resolve().parent.parent
CORPUS_SOURCE = "llama_diversity/lab/corpus.py"


class FileTokenizer:
    """Text to ids as llama.cpp does it with a file's vocabulary; the same ids as the lab's own tokenizer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids without BOS and EOS."""
        if text not in self._known:  # documents are asked for again when they are chosen, and by kind
            self._known[text] = list(self._engine.tokenize(text, Asking(start="none")))
        return self._known[text]


def built_by(folder: Path, commit: str | None = None) -> Corpus:
    """The corpus from the text files of `folder`, as the present program chooses it or as it did at `commit`.

    Raises BadValue for a file that is missing, and for a commit that git does not know.
    """
    return corpus.build(folder) if commit is None else _corpus_of(commit).build(folder)


def _corpus_of(commit: str) -> types.ModuleType:
    module = types.ModuleType("corpus_of_a_commit")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(shown(commit, CORPUS_SOURCE), f"{commit}:{CORPUS_SOURCE}", "exec"), module.__dict__)
    return module


def shown(commit: str, path: str) -> bytes:
    """A file of the repository as it was at `commit`. Raises BadValue."""
    done = subprocess.run(["git", "-C", str(ROOT), "show", f"{commit}:{path}"], capture_output=True)
    if done.returncode:
        raise BadValue("the commit", commit, f"git does not show {path} of it: {done.stderr.decode().strip()}")
    return done.stdout


def compared(files: Mapping[str, Path], built: Corpus) -> str:
    """A table of all held-out documents that fit every file's context whole: by kind the bits per byte of each file.

    Kneser-Ney is trained on the corpus's own training side, in the tokens of the last file.
    """
    with contextlib.ExitStack() as stack:
        models = {name: read_gguf(path)[0] for name, path in files.items()}
        tokenizers = {name: FileTokenizer(stack.enter_context(_vocabulary(path))) for name, path in files.items()}
        n_ctx = min(model.architecture.n_ctx for model in models.values())
        fitting = [one for one in built.held_out if all(_fits(some, one.text, n_ctx) for some in tokenizers.values())]
        shared = Corpus(built.train, fitting)
        found = {name: base.quality(model, tokenizers[name], shared) for name, model in models.items()}
        last = list(files)[-1]
        other = base.baselines(tokenizers[last], shared, models[last].architecture)
    rows = []
    for kind, one in found[last].items():
        bits = [found[name][kind].bits_per_byte for name in files]
        rows.append((kind, f"{one.n_documents:,}", f"{one.n_bytes:,}", *(f"{each:.3f}" for each in bits)))
    rows.append(_row("all, 5-gram Kneser-Ney", other["kneser_ney_5"], len(files)))
    rows.append(_row("all, `xz -9`", other["xz_9"], len(files)))
    return table(("kind", "documents", "bytes", *files), rows)


def _row(name: str, bits_per_byte: float, n_files: int) -> Sequence[str]:
    return (name, "", "", *[""] * (n_files - 1), f"{bits_per_byte:.3f}")


def _fits(tokenizer: FileTokenizer, text: str, n_ctx: int) -> bool:
    return len(tokenizer.encode(text)) <= n_ctx - 2


def _vocabulary(path: Path) -> contextlib.closing[Engine]:
    model = ModelRef(path.stem, "llamacpp", str(path), sha256_of(path))
    return contextlib.closing(open_engine(model, EngineOptions(vocabulary_only=True)))

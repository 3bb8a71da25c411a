"""What llama.cpp warns of while it loads a file, where that changes what the numbers mean: a sentence for each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KINDS = (  # a pattern whose group names what it is about, and the sentence about all that were named
    (
        r"missing pre-tokenizer type, using: '(\w+)'",
        "The file does not name its pre-tokenizer (tokenizer.ggml.pre), so texts are split by llama.cpp's {} rule, "
        "perhaps into other tokens than the model was trained on. A newer conversion of the model has the name.",
    ),
    (
        r"control-looking token: +\d+ '(.*)' was not control-type",
        "Text tokens of the file count as control tokens, as llama.cpp takes them by their names: {}.",
    ),
    (
        r"setting token '(.*)' \(\d+\) attribute to USER_DEFINED",
        "Control tokens of the file count as text in what a model says, as llama.cpp takes them: {}.",
    ),
    (
        r"tokens, removing '(.*)' token from EOG list",
        "A token named after the end of a turn does not end a text, as llama.cpp takes it: {}.",
    ),
    (
        r"bad special token: '(.*)' =",
        "The file names special tokens that its vocabulary does not have: {}.",
    ),
    (r"override '(.*)' to 'true'", "llama.cpp overrides the file and puts a BOS before every text: {}."),
    (r"model has unused tensor (\S+)", "Tensors of the file are not used by llama.cpp: {}."),
    (r"adding (\d+) dummy tokens", "The file holds no vocabulary; llama.cpp makes up {} tokens."),
)
_HARMLESS = re.compile(
    r"is not in special_eog_ids"  # it is put there
    r"|mmap is not"  # speed
    r"|tensor overrides"
    r"|empty token at index"
    r"|default special token"
    r"|GENERATION QUALITY|CONSIDER REGENERATING|^[^:]*: *\**$"  # the frame around the pre-tokenizer's
)
_MOST_NAMED = 5


def notes_of(warnings: Iterable[str]) -> tuple[str, ...]:
    """The sentences, each kind once; a warning of an unknown kind in llama.cpp's own words."""
    named: dict[str, list[str]] = {}
    others: dict[str, None] = {}
    for line in warnings:
        for pattern, sentence in _KINDS:
            if match := re.search(pattern, line):
                named.setdefault(sentence, []).append(match[1])
                break
        else:
            if line.strip() and not _HARMLESS.search(line.strip()):
                others[line.strip()] = None
    kinds = [
        sentence.format(_listed(list(dict.fromkeys(named[sentence])))) for _, sentence in _KINDS if sentence in named
    ]
    return (*kinds, *(f"llama.cpp warns: {line}" for line in others))


def _listed(found: Iterable[str]) -> str:
    names = list(found)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more

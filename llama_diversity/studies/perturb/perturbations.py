"""Ways of changing the opening of a completion: what section 5.1 of the paper does to a model to nudge it off its path.

The opening is cut from the first two sentences of prompt and completion. Each kind changes it at one place and ends it
there, so that a continuation of the changed opening begins right behind the change; typing errors are spread over both
sentences and end with them. `dose` is how often a kind is applied: 1 is the least change it knows, k is k times that;
the unchanged opening is the same at every dose.

Nothing here draws from a model: SwapToken is told which tokens would have been drawn.
"""

from __future__ import annotations

import codecs
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from llama_diversity.errors import BadUsage, BadValue, Unfit
from llama_diversity.text import ends_between_words, is_letter_without_blanks

N_SENTENCES = 2
MOST_COMPARED = 2_000  # characters in which two openings may differ, for an edit distance
Tokens = Sequence[tuple[bytes, bytes]]  # of a completion: the piece drawn, that of the likeliest other token there
_END_OF_SENTENCE = re.compile(r"[.!?][\"')\]]*\s")
_ATTACHED = ",.;:!?)]}%’”…"  # marks that follow a word without a blank


class NothingToChange(Unfit):
    """An opening without the place that was to be changed: what is missing, and what to do."""

    exit_code = 2

    def __init__(self, missing: str, *, next_step: str) -> None:
        super().__init__(f"{missing}. {next_step}")


class Opening(NamedTuple):
    """What all arms continue: as the model wrote it, and changed. Both end where the change ends."""

    unchanged: str
    changed: str


def first_sentences(text: str, n: int = N_SENTENCES) -> str:
    """The first `n` sentences of a text, all of it where there are fewer.

    >>> first_sentences("She was born. She was not old! She died.")
    'She was born. She was not old!'
    """
    ends = [found.end() for found in _END_OF_SENTENCE.finditer(text)]
    return text[: ends[n - 1]].rstrip() if len(ends) >= n else text


# ---- the kinds


@dataclass(frozen=True)
class Replace:
    """The last `old` becomes `new`, the paper's change; at dose k the last k of them. The opening ends behind the last.

    `old` counts where it stands as a word, in the same case. An empty `new` takes the blanks before `old` along.

    >>> Replace().opening("Grace Hopper was", " born in 1906. She was a pioneer. He was old.")
    Opening(unchanged='Grace Hopper was born in 1906. She was', changed='Grace Hopper was born in 1906. She was not')
    """

    name: ClassVar[str] = "replace"
    old: str = "was"
    new: str = "was not"

    def __post_init__(self) -> None:
        if not self.old:
            raise BadValue("--replace", self.old, "the word to change must not be empty")
        if self.old == self.new:
            raise BadValue("--replace", self.old, "what it becomes must be something else")

    def words(self) -> list[str]:
        """The command-line options that make it."""
        return ["--replace", self.old, self.new]

    def opening(self, prompt: str, completion: str, *, dose: int = 1, tokens: Tokens = ()) -> Opening:
        """Raises NothingToChange where `old` occurs fewer than `dose` times."""
        text = _to_change(prompt, completion, dose)
        places = list(re.finditer(self._pattern(), text))
        if not places:
            raise NothingToChange(
                f"{self.old!r} does not occur in the opening {text[:200]!r}",
                next_step="Name words that do: --replace OLD NEW.",
            )
        if len(places) < dose:
            raise NothingToChange(
                f"The opening {text[:200]!r} has only {len(places)} of the {dose} {self.old!r} to change",
                next_step="Lower the dose, or name words that occur more often: --replace OLD NEW.",
            )
        unchanged = text[: places[-1].end()]
        start = places[-dose].start()
        return Opening(unchanged, unchanged[:start] + re.sub(self._pattern(), lambda _: self.new, unchanged[start:]))

    def _pattern(self) -> str:
        """A word's edges count only where `old` has letters of scripts with blanks there: a comma is changed too."""
        before = r"(?<!\w)" if _has_an_edge(self.old[0]) else ""
        after = r"(?!\w)" if _has_an_edge(self.old[-1]) else ""
        return ("" if self.new else r"\s*") + before + re.escape(self.old) + after


def _has_an_edge(char: str) -> bool:
    return re.match(r"\w", char) is not None and not is_letter_without_blanks(char)


@dataclass(frozen=True)
class Insert:
    """`text` stands behind the first `at` words; at dose k it stands there k times. The opening ends behind it.

    Counted like Python's `list.insert`: 3 is behind the third word, -1 before the last one; the number of words is
    behind the last. Words are what blanks separate, and letters of scripts without them. A blank goes before the text
    unless it brings one, begins with a mark such as a comma, or stands between such letters; blanks at its end are left
    to the continuation.

    >>> Insert("however", 2).opening("Grace Hopper was", " born in 1906.")
    Opening(unchanged='Grace Hopper', changed='Grace Hopper however')
    """

    name: ClassVar[str] = "insert"
    text: str
    at: int

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise BadValue("--insert", self.text, "the text to insert must not be empty")

    def words(self) -> list[str]:
        """The command-line options that make it."""
        return ["--insert", self.text, "--at", str(self.at)]

    def opening(self, prompt: str, completion: str, *, dose: int = 1, tokens: Tokens = ()) -> Opening:
        """Raises BadValue where there is no such word; behind none there would be no opening, so 0 is no position."""
        text = _to_change(prompt, completion, dose)
        ends = ends_between_words(text)
        if not ends:
            raise NothingToChange("The opening has no word", next_step="Give a prompt with words: -p TEXT.")
        n_before = self.at if self.at >= 0 else len(ends) + self.at
        if not 1 <= n_before <= len(ends):
            allowed = f"1 to {len(ends)}, or -1 to {1 - len(ends)} from the end" if len(ends) > 1 else "1"
            raise BadValue("--at", self.at, f"by the number of words in the opening it can be {allowed}")
        unchanged = text[: ends[n_before - 1]]
        goes_on = is_letter_without_blanks(self.text[0]) and is_letter_without_blanks(unchanged[-1])
        blank = "" if self.text[0].isspace() or self.text[0] in _ATTACHED or goes_on else " "
        return Opening(unchanged, unchanged + dose * (blank + self.text.rstrip()))


@dataclass(frozen=True)
class SwapToken:
    """Token `at` becomes the likeliest other token at its place; at dose k, the k tokens that end there.

    0 is the first token of the completion, -1 the last one that begins within the first two sentences. The opening ends
    behind the token. Each token is replaced by what was likely behind the tokens as they were drawn.

    >>> tokens = [(b" born", b" a"), (b" in", b" on"), (b" 1906", b" New")]
    >>> SwapToken(1).opening("She was", " born in 1906", tokens=tokens)
    Opening(unchanged='She was born in', changed='She was born on')
    """

    name: ClassVar[str] = "swap-token"
    at: int

    def words(self) -> list[str]:
        """The command-line options that make it."""
        return ["--swap-token", str(self.at)]

    def opening(self, prompt: str, completion: str, *, dose: int = 1, tokens: Tokens = ()) -> Opening:
        """`tokens` are those of the whole completion. Bytes that are no UTF-8 become replacement characters.

        Raises NothingToChange where fewer than `dose` tokens end at `at`, or where the other token adds no text, as the
        end of the sequence does.
        """
        length = len(_to_change(prompt, completion, dose))
        if not b"".join(drawn for drawn, _ in tokens).decode("utf-8", "replace").startswith(completion):
            raise ValueError("these are not the tokens of the completion")
        position = self._position(_begun_within(length - len(prompt), tokens))
        first = position + 1 - dose
        if first < 0:
            raise NothingToChange(
                f"Only {position + 1} of the {dose} tokens to swap belong to the completion",
                next_step="Lower the dose, or name a later token: --swap-token AT.",
            )
        for number, (drawn, other) in enumerate(tokens[first : position + 1], start=first):
            if other in (b"", drawn):
                raise NothingToChange(
                    f"The likeliest other token in place of token {number} would not read differently",
                    next_step="Name another one: --swap-token AT.",
                )
        before = b"".join(drawn for drawn, _ in tokens[:first])
        pieces = zip(*tokens[first : position + 1], strict=True)  # all drawn, all others
        return Opening(*(prompt + (before + b"".join(some)).decode("utf-8", "replace") for some in pieces))

    def _position(self, n: int) -> int:
        """`at` counted from the first of the `n` tokens there are to choose from."""
        if not n:
            raise NothingToChange(
                "The opening holds no token of the completion",
                next_step="Give a prompt of less than two sentences, whose completion is not empty: -p TEXT.",
            )
        if not -n <= self.at < n:
            allowed = f"0 to {n - 1}, or -1 to {-n} from the end" if n > 1 else "0"
            raise BadValue("--swap-token", self.at, f"by the completion's tokens in the opening it can be {allowed}")
        return self.at % n


@dataclass(frozen=True)
class Typos:
    """Every letter is mistyped with probability `rate`, at dose k with k times that, 1 at most.

    Mistyped: left out, doubled, replaced by a neighbour on a QWERTY keyboard in the same case, or swapped with the next
    letter; at equal chance, of those that are possible there (no swap at the end of a word or with the same letter, no
    neighbour of é). The opening is the first two sentences. Letters are what Unicode calls so, with their accents.

    The numbers of letter i depend on `seed` and i alone, so the typos of a lower dose are among those of a higher one.
    Two that meet, such as swapped and left out in turn, may read as one.

    >>> Typos(0.1).opening("Grace Hopper was", " born in 1906.").changed
    'race Hoppper was born on 1906.'
    """

    name: ClassVar[str] = "typos"
    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadValue("--typos", self.rate, "it must lie above 0 and at most at 1")
        if not 0 <= self.seed < 2**64:
            raise BadValue("--seed", self.seed, "it must lie between 0 and 2**64 - 1")

    def words(self) -> list[str]:
        """The command-line options that make it; the seed is the command's own."""
        short = f"{self.rate:g}"
        return ["--typos", short if float(short) == self.rate else repr(self.rate)]

    def opening(self, prompt: str, completion: str, *, dose: int = 1, tokens: Tokens = ()) -> Opening:
        """Raises NothingToChange where chance hits no letter."""
        text = _to_change(prompt, completion, dose)
        changed = self._typed(_characters(text), min(1.0, dose * self.rate))
        if changed == text:
            raise NothingToChange(
                f"No letter of the opening {text[:200]!r} was mistyped",
                next_step="Raise the rate: --typos RATE; or change the seed.",
            )
        return Opening(text, changed)

    def _typed(self, characters: Sequence[str], probability: float) -> str:
        letters = [at for at, character in enumerate(characters) if character[0].isalpha()]
        generator = np.random.Generator(np.random.Philox(key=self.seed))
        numbers = dict(zip(letters, generator.random((len(letters), 3)).tolist(), strict=True))
        typed, late = [], ""  # late: swapped letters, to be written behind the next one
        for at, character in enumerate(characters):
            hit, way, neighbour = numbers.get(at, (math.inf, 0.0, 0.0))
            if hit < probability:
                following = characters[at + 1] if at + 1 in numbers else ""
                now, later = _mistyped(character, following, way, neighbour)
            else:
                now, later = character, ""
            if later:
                late = later + late
            else:
                typed.append(now + late)
                late = ""
        return "".join(typed)


@dataclass(frozen=True)
class Taken:
    """Openings that somebody took by hand in a run of `branch`, each with its prompt: nothing is asked for before.

    Unchanged is what the text said where a way left it, and where it said nothing the text before.
    """

    name: ClassVar[str] = "taken"
    run: str
    prompts: tuple[str, ...]
    openings: tuple[Opening, ...]  # of each of the prompts

    def words(self) -> list[str]:
        """The command-line options that make it."""
        return ["--opening-of", self.run]

    @classmethod
    def of_fields(cls, run: str, prompts: Sequence[str], openings: Sequence[Sequence[str]]) -> Taken:
        """The same after JSON."""
        return cls(run, tuple(prompts), tuple(Opening(*one) for one in openings))


Perturbation: TypeAlias = Replace | Insert | SwapToken | Typos
KINDS: dict[str, type[Perturbation]] = {
    Replace.name: Replace,
    Insert.name: Insert,
    SwapToken.name: SwapToken,
    Typos.name: Typos,
}


def from_settings(name: str, fields: Mapping[str, Any]) -> Perturbation:
    """The perturbation called `name` with the fields that `dataclasses.asdict` gave.

    >>> from_settings("insert", {"text": "not", "at": -1})
    Insert(text='not', at=-1)
    """
    if name not in KINDS:
        raise BadValue("the kind of perturbation", name, f"it must be one of {', '.join(KINDS)}")
    return KINDS[name](**fields)


# ---- where to change


def _to_change(prompt: str, completion: str, dose: int) -> str:
    """The text that may be changed."""
    if dose < 1:
        raise BadValue("--dose", dose, "it must be at least 1")
    return first_sentences(prompt + completion)


def _begun_within(n_characters: int, tokens: Tokens) -> int:
    """How many tokens begin within the first characters of the completion; a started character is not over yet."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    written = 0
    for number, (drawn, _) in enumerate(tokens):
        if written >= n_characters:
            return number
        written += len(decoder.decode(drawn))
    return len(tokens)


# ---- typing errors


def _characters(text: str) -> list[str]:
    r"""The characters of a text, each with the marks that combine with it.

    >>> [len(character) for character in _characters("re\u0301!")]
    [1, 2, 1]
    """
    found: list[str] = []
    for character in text:
        if found and unicodedata.category(character).startswith("M"):
            found[-1] += character
        else:
            found.append(character)
    return found


def _neighbours() -> dict[str, str]:
    """Letters that touch each letter on a QWERTY keyboard, where each row lies half a key further right."""
    rows = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    keys = {(row, column): letter for row, letters in enumerate(rows) for column, letter in enumerate(letters)}
    around = ((-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0))
    found = {
        letter: "".join(keys.get((row + down, column + right), "") for down, right in around)
        for (row, column), letter in keys.items()
    }
    return found | {letter.upper(): near.upper() for letter, near in found.items()}


NEIGHBOURS = _neighbours()


def _mistyped(letter: str, following: str, way: float, neighbour: float) -> tuple[str, str]:
    """What is typed for a letter, and what only behind the `following` one; the numbers, in [0, 1), choose.

    >>> [_mistyped("a", "b", way, 0.99) for way in (0, 0.25, 0.5, 0.75)]
    [('', ''), ('aa', ''), ('z', ''), ('', 'a')]
    """
    ways = [("", ""), (2 * letter, "")]
    near = NEIGHBOURS.get(letter, "")
    if near:
        ways.append((near[int(neighbour * len(near))], ""))
    if following not in ("", letter):
        ways.append(("", letter))
    return ways[int(way * len(ways))]


# ---- how much was changed


def edit_share(opening: Opening) -> float:
    """Levenshtein distance of the two texts in characters, divided by the length of the unchanged one.

    0 where they are equal; an insertion longer than the opening makes it more than 1. Undefined (nan) where the
    unchanged one is empty, or where they differ over more than MOST_COMPARED characters.

    >>> edit_share(Opening("She was", "She was not"))  # 4 of 7
    0.5714285714285714
    """
    unchanged, changed = _without_common_ends(*opening)
    if not opening.unchanged or max(len(unchanged), len(changed)) > MOST_COMPARED:
        return math.nan
    return _levenshtein(unchanged, changed) / len(opening.unchanged)


def _without_common_ends(first: str, second: str) -> tuple[str, str]:
    """What lies between the common beginning and the common end: the distance of the two is the same."""
    shorter = min(len(first), len(second))
    start = next((at for at in range(shorter) if first[at] != second[at]), shorter)
    first, second = first[start:], second[start:]
    shorter -= start
    end = next((at for at in range(shorter) if first[-1 - at] != second[-1 - at]), shorter)
    return first[: len(first) - end], second[: len(second) - end]


def _levenshtein(first: str, second: str) -> int:
    """Fewest insertions, deletions and replacements of one character; Wagner and Fischer's table, row by row."""
    columns = np.arange(len(second) + 1)
    letters = np.array([ord(letter) for letter in second], np.int64)
    row = columns
    for number, letter in enumerate(first, start=1):
        below = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(letter)))
        below = np.concatenate([[number], below])
        row = np.minimum.accumulate(below - columns) + columns  # insertions: 1 for each column to the right
    return int(row[-1])


def change_of(
    replace: tuple[str, str] | None,
    insert: str | None,
    at: int | None,
    swap_token: int | None,
    typos: float | None,
    seed: int,
) -> Perturbation | None:
    """The one change that was asked for, None for none. Raises BadUsage for several, BadValue for an impossible one."""
    named = [
        name
        for name, value in (
            ("--replace", replace),
            ("--insert", insert),
            ("--swap-token", swap_token),
            ("--typos", typos),
        )
        if value is not None
    ]
    if len(named) > 1:
        raise BadUsage(f"One change at a time: {' or '.join(named)}.")
    if (at is not None) != (insert is not None):
        raise BadUsage("--insert TEXT and --at K go together: what to put in, and behind how many words.")
    if insert is not None and at is not None:
        return Insert(insert, at)
    if swap_token is not None:
        return SwapToken(swap_token)
    if typos is not None:
        return Typos(typos, seed)
    if replace is not None and not replace[0]:
        raise BadValue("--replace", "", "name the words that are to be replaced")
    return Replace(*replace) if replace is not None else None

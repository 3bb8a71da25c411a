"""What a model on vLLM servers is, as typed: vllm:http://h1:8000,http://h2:8000/NAME@TOKENIZER. Knows no network.

Every server of the list serves the same model under the same name. TOKENIZER is what turns texts into ids on this
machine; only ids travel. An address holds no secret: what a server asks for is in the environment, never in a name that
is shown, recorded and published.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from llama_diversity.errors import BadValue

PREFIX = "vllm:"
FORM = "write vllm:http://HOST:PORT/NAME, or vllm:http://H1:8000,http://H2:8000/NAME for several servers of one model"
KEY_VARIABLE = "LLAMADIV_VLLM_KEY"
_SCHEMES = ("http://", "https://")
_NO_TEXT = re.compile(r"[\s\x00-\x1f\x7f]")
_HOST = r"https?://[\w.-]+(:\d+)?"
_HOSTS_ALONE = re.compile(rf"vllm:({_HOST},)*{_HOST}(/|$)", re.IGNORECASE)


class Served(NamedTuple):
    """The servers of one model, its name there, and whose tokenizer is used: as typed, or resolved to a path."""

    urls: tuple[str, ...]
    name: str
    tokenizer: str = ""  # "" where nothing is said

    def to_json(self) -> str:
        """As a `ModelRef` holds it."""
        return json.dumps(self._asdict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Served:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        return cls(tuple(fields["urls"]), fields["name"], fields["tokenizer"])


def is_served(reference: str) -> bool:
    """Whether a model's name is that of one on servers."""
    return reference.startswith(PREFIX)


def parse_served(reference: str) -> Served:
    """Servers and name as they are typed. Raises BadValue, which repeats no password and no key.

    >>> parse_served("vllm:http://h1:8000,http://h2:8000/OWNER/REPO@tiny-base")
    Served(urls=('http://h1:8000', 'http://h2:8000'), name='OWNER/REPO', tokenizer='tiny-base')
    """
    *first, last = reference.removeprefix(PREFIX).split(",")
    scheme, slashes, rest = last.partition("://")
    host, _, named = rest.partition("/")
    urls = [*first, scheme + slashes + host]
    problem = urls_problem(urls)
    if problem is None and any(urlsplit(plain_url(url)).path for url in first):
        problem = "the name stands behind the last address alone; servers below a path are named in models.toml"
    if problem is None and named.startswith("v1/"):
        problem = "leave out /v1: it is added"
    name, _, tokenizer = named.partition("@")
    if problem is None and (not name or _NO_TEXT.search(named) or "?" in named or "#" in named):
        problem = FORM
    if problem is not None:
        raise BadValue("the model", without_secrets(reference), problem)
    return Served(tuple(map(plain_url, urls)), name, tokenizer)


def urls_problem(urls: Sequence[str]) -> str | None:
    """What is wrong with addresses of servers, for a sentence that does not repeat them; None for nothing."""
    for url in urls:
        problem = _url_problem(url)
        if problem is not None:
            return problem
    plain = list(map(plain_url, urls))
    twice = next((url for url in plain if plain.count(url) > 1), None)
    return None if twice is None else f"{twice} is there twice; leave one out"


def plain_url(url: str) -> str:
    """An address without what changes nothing: /v1 and slashes at its end, capitals of scheme and host."""
    parts = urlsplit(url.strip())
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{path}"


def without_secrets(reference: str) -> str:
    """A reference as it may be repeated: without user and password, query and fragment.

    >>> without_secrets("vllm:http://me:secret@h1:8000/NAME?key=secret")
    'vllm:http://…@h1:8000/NAME?…'
    """
    shown = reference if _HOSTS_ALONE.match(reference) else re.sub("://.*@", "://…@", reference, flags=re.DOTALL)
    return re.sub("([?#]).*", r"\1…", shown, flags=re.DOTALL)


def cut_served(parts: Sequence[str]) -> int:
    """How many of `parts`, which stood between commas, are addresses of the reference that the first begins."""
    return next((at for at in range(1, len(parts)) if not _is_address(parts[at])), len(parts))


def _is_address(part: str) -> bool:
    return part.strip().lower().startswith(_SCHEMES)


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url.strip())
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # no number for a port, or half of a bracket
        return FORM
    if "@" in parts.netloc:
        return f"an address holds no user and no password; a server's key is read from {KEY_VARIABLE}"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return f"an address holds no query, where a key would be shown and recorded; set {KEY_VARIABLE} instead"
    return FORM if not is_whole or not _is_address(url) or _NO_TEXT.search(url) or _is_odd(parts) else None


def _is_odd(parts: SplitResult) -> bool:
    """Whether a host holds what none does."""
    return not re.fullmatch(r"[\w.-]+|[0-9a-f:.]+", parts.hostname or "", re.ASCII)

"""What Ray raises, as sentences: what is wrong, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llama_diversity.engines.fanout.clusters import LOCAL
from llama_diversity.engines.fanout.lines import Refused, WorkerGone, WorkerLost
from llama_diversity.errors import LlamadivError


def about_cluster(error: BaseException, address: str) -> str:
    """Why no cluster can be had at `address`."""
    kind, words = type(error).__name__, str(error)
    below = "\n".join(_said_below(error))
    if isinstance(error, ImportError):
        return "Ray is not installed. Install it: pip install 'llama-diversity[ray]'"
    if kind == "AuthenticationError" and "no authentication token" in words:
        return (
            "RAY_AUTH_MODE=token is set, but there is no token here. Copy the one of the cluster's head, "
            "~/.ray/auth_token, or set RAY_AUTH_MODE=disabled where the cluster has none"
        )
    if "InvalidAuthToken" in below or kind == "AuthenticationError":
        return (
            f"The Ray cluster at {address} wants a token. export RAY_AUTH_MODE=token here and before `ray start` on "
            "all its nodes, with the head's ~/.ray/auth_token on each; or start its head with RAY_AUTH_MODE=disabled"
        )
    if found := re.search(r"Version mismatch.*?Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", words, re.S):
        theirs, ours = f"ray {found[1]}, Python {found[2]}", f"ray {found[3]}, Python {found[4]}"
        return (
            f"The Ray cluster at {address} runs {theirs}, and here is {ours}. Both must be the same: install "
            f"ray=={found[1]} into an environment of Python {found[2]} here, or start the cluster from this one"
        )
    if address == LOCAL:
        return (
            f"A Ray cluster cannot be started here: {kind}: {_line(words)}. Run the command again, or take --workers N"
        )
    return (
        f"The Ray cluster at {address} cannot be used: {kind}: {_line(words)}. Look at it: ray status --address "
        f"{address}"
    )


def nothing_at(address: str) -> str:
    """That nobody listens."""
    return (
        f"There is no Ray cluster at {address}: nothing answers there. Start its head: ray start --head --port=6379; "
        "or let ray:local start one"
    )


def about_actor(
    error: BaseException, place: Mapping[str, Any], *, is_alive: bool, is_starting: bool = False
) -> WorkerLost | LlamadivError:
    """Why a worker is lost, or cannot be."""
    kind, words = type(error).__name__, str(error)
    if missing := re.search(r"No module named '([\w.]+)'", words):
        lacks = "llamadiv" if missing[1].startswith("llama_diversity") else missing[1]
        return Refused(
            f"lacks {lacks}: install it into the environment that `ray start` was called from there, in the same "
            "version as here: pip install 'llama-diversity[ray]'"
        )
    if not is_alive or "node has died" in words:
        return WorkerGone("has left the cluster")
    if kind == "GetTimeoutError":
        if not is_starting:
            return WorkerLost("does not answer any more")
        wanted = f"{place['n_cpus']} CPUs" + (" and a GPU" if place["n_gpus"] else "")
        return WorkerLost(f"has not had {wanted} free for a minute: others of the cluster hold them")
    if kind == "ActorUnavailableError":  # often the first that is heard of a node's death
        return WorkerLost("cannot be reached")
    if kind == "OutOfMemoryError":
        return WorkerLost("was ended by Ray, as the memory of its node ran out")
    if isinstance(error, RuntimeError | ConnectionError) or "Died" in kind:
        return WorkerLost("died" if not is_starting else "died as it began")
    return WorkerLost(f"was lost: {kind}: {_line(words)}")


def _said_below(error: BaseException | None) -> Iterator[str]:
    """What it says, and what it came of."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _line(words: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[\d+m", "", words)).strip()[:300].rstrip(".")

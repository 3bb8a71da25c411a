"""Work for drivers on other machines: which models, where they are asked for, and what is said about it."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from llama_diversity import digests, hub
from llama_diversity.engines.fanout.hold import Hold
from llama_diversity.engines.fanout.secret import VARIABLE, worker_token
from llama_diversity.engines.fanout.server import WorkerServer
from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.records import ModelRef, twins
from llama_diversity.studies.session import Session

SERVED = {"llamacpp", "scripted"}
_BEFORE_ALL = {"0.0.0.0", "::"}


class Serving(NamedTuple):
    """A worker that listens; `server.serve_forever` answers."""

    server: WorkerServer
    models: tuple[ModelRef, ...]

    def words(self) -> list[str]:
        """What is served where, and what a driver has to type."""
        names = " and ".join(model.reference for model in self.models)
        host, port = str(self.server.server_address[0]), self.server.server_address[1]
        typed = f"llamadiv sample -m {shlex.quote(self.models[0].reference)} -p 'She was' --workers"
        said = [
            f"Serving {names} at {self.server.url}; a model is loaded when a driver asks for it. Ctrl-C ends it.",
            f"On this machine, with the same {VARIABLE}: {typed} {self.server.url}",
        ]
        here = socket.gethostname()
        if host.startswith("127.") or host == "::1":
            return [*said, f"On another: ssh -N -L {port}:localhost:{port} {here}, and then the same."]
        name = here if host in _BEFORE_ALL else host
        return [
            *said,
            f"On another: --workers http://{name}:{port}. Token and texts go there unencrypted: on a network that "
            "others use, leave out --host and go through ssh -L, or put TLS before it.",
        ]


def serving(
    references: Sequence[str], *, host: str, port: int, session: Session, on_note: Callable[[str], None]
) -> Serving:
    """A worker for these models alone, laid out as the session is. Raises BadUsage without a token, EngineError."""
    token = worker_token()
    found = [session.model(reference) for reference in references]
    models = tuple(part for model in found for part in model.parts or (model,))
    for model in models:
        if model.engine not in SERVED:
            raise BadValue("--model", model.reference, "it is on servers already; let drivers ask them")
    same = twins(models)
    if same is not None:
        raise BadUsage(f"{same[0].reference} and {same[1].reference} are the same model. Name each once.")
    hold = Hold(models, session.layout, on_note=on_note, check=_unchanged)
    return Serving(WorkerServer(host, port, token=token, hold=hold), models)


def _unchanged(model: ModelRef) -> None:
    """Raises ModelFileError where a file is no longer the one whose digest is stated."""
    for one in model.parts or (model,):
        if one.engine == "llamacpp":
            digests.require_unchanged(hub.model_files(Path(one.location)))

"""The context of work: where samples are kept, how engines are laid out, and who hears what is going on.

It knows no terminal: whoever shows progress listens. What opens models and texts is imported when they are opened.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llama_diversity import paths
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.records import Asking, ModelRef

if TYPE_CHECKING:
    from llama_diversity import digests, embed
    from llama_diversity.studies.fetching import Fetching
    from llama_diversity.studies.pace import Standing

    OnBytes = Callable[[str], digests.OnBytes | None]


class Show(Protocol):
    """Hears which share of a work is done, 0 to 1, and words for it where percent say too little."""

    def __call__(self, share: float, words: str | None = None, /) -> None: ...


class Listener:
    """Hears what is going on. This one keeps silent; the command line's tells it on standard error."""

    def say(self, words: str) -> None:
        """A remark that matters however quiet one works: the network is about to be used, nothing can be kept."""

    def note(self, words: str) -> None:
        """A remark about a model, each time it is opened."""

    def agrees(self, about: Sequence[str], question: str) -> bool | None:
        """Whether somebody says yes to a question, told what it is `about`; None where nobody can be asked."""
        return None

    def working(self, title: str) -> AbstractContextManager[Show]:
        """Around one piece of work."""
        return contextlib.nullcontext(_nothing)

    def sampling(self, title: str) -> AbstractContextManager[Callable[[Standing], None]]:
        """Around the samples of a run, all its cells together; models are loaded within it."""
        return contextlib.nullcontext(_nothing)

    def moving_bytes(self) -> AbstractContextManager[OnBytes]:
        """Around the reading or fetching of files: a maker of hearers by label."""
        return contextlib.nullcontext(_nothing)


def _nothing(*heard: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Session:
    """What every piece of work is given; the one place that knows store, network, layout and listener."""

    named_store: Path | None = None  # where samples are kept; None: the user's own store
    offline: bool = False  # never touch the network
    layout: EngineOptions = EngineOptions()
    listener: Listener = field(default_factory=Listener)
    command: tuple[str, ...] = ("python",)  # what a run's record says was typed
    fetching: Fetching = "never"  # models that are not here: "ask", or "yes" without a question

    @property
    def store(self) -> Path:
        """The file that keeps samples. Raises NoHome; what keeps none does not ask."""
        return self.named_store or paths.default_store()

    def require(self, references: Sequence[str], group: str | None = None) -> None:
        """Have models that are not here fetched, where that may be; `group` is the name of the pair they are.

        Raises NotDownloaded, DownloadError, UnknownName and the like.
        """
        if self.fetching != "never":
            from llama_diversity.studies.fetching import require_here

            require_here(references, group, fetching=self.fetching, offline=self.offline, listener=self.listener)

    def model(self, reference: str) -> ModelRef:
        """The model of a name, with the digest of its bytes. Raises what `resolve_model` and `require` raise."""
        from llama_diversity.resolve import resolve_model

        self.require([reference])
        with self.listener.moving_bytes() as on_bytes:
            return resolve_model(reference, on_progress=on_bytes(f"Reading {reference}"))

    @contextlib.contextmanager
    def opened(self, model: ModelRef) -> Iterator[Engine]:
        """The engine of `model`; closed afterwards, so that one model is in memory. Raises what engines raise."""
        from llama_diversity import digests, hub

        with self.listener.working(f"loading {model.reference}") as show:
            engine = open_engine(model, self.layout, on_load=show, on_note=self.listener.note)
        for note in engine.facts.notes:
            self.listener.note(f"{model.reference}: {note}")
        with contextlib.closing(engine):
            for one in model.parts or (model,):
                if one.engine == "llamacpp":  # what was opened must be what was hashed
                    digests.require_unchanged(hub.model_files(Path(one.location)))
            yield engine

    @contextlib.contextmanager
    def reading(self, model: ModelRef) -> Iterator[Engine]:
        """As `opened`, but without the weights: enough to tokenise, render prompts and plan."""
        light = dataclasses.replace(self, layout=dataclasses.replace(self.layout, vocabulary_only=True))
        with light.opened(model) as engine:
            yield engine

    def encoder(self) -> embed.Place:
        """Where the sentence encoder is; fetched, which is said, where it is nowhere. Raises NoEncoder.

        Whether its vectors can be kept is found out now, and said where they cannot.
        """
        from llama_diversity import embed

        place = embed.find() or embed.fetch(self.listener.say, offline=self.offline)
        trouble = embed.cache_trouble()
        if trouble is None:
            return place
        self.listener.say(trouble)
        return place._replace(keeps=False)

    def note_unknown_start(self, engine: Engine, asking: Asking) -> None:
        """Say so where nobody states what texts begin with, so that they begin with nothing."""
        if asking.start == Asking().start and not engine.start(asking).ids:
            self.listener.note(
                f"{engine.facts.reference}: neither its file nor models.toml says what separated documents in "
                "pretraining, so raw prompts begin with nothing. --start names something."
            )

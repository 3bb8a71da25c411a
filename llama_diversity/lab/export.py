"""From a torch model to a GGUF file that llama.cpp loads, and back.

The file says where it comes from: architecture, tokenizer, chat template, licence, and the recipe of its training.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import torch

from llama_diversity.lab.gguf_header import add_dimensions, add_vocabulary
from llama_diversity.lab.transformer import Architecture, Llama

PROVENANCE_KEY = "llamadiv.provenance"  # JSON text: the recipe, its numbers, and the stage before


_TEMPLATE_KEY = "tokenizer.chat_template"


class Vocabulary(NamedTuple):
    """What a SentencePiece tokenizer needs: one entry a token; BOS is 1 and EOS is 2."""

    pieces: Sequence[bytes]
    scores: Sequence[float]
    types: Sequence[int]


class Card(NamedTuple):
    """What the file says about itself."""

    name: str
    description: str
    licence: str
    provenance: Mapping[str, Any]
    chat_template: str | None = None


def write_gguf(path: Path, model: Llama, vocabulary: Vocabulary, card: Card, *, kind: str = "F16") -> None:
    """Write `model` to `path`; `kind` of the matrices is F32, F16 or Q8_0, norms are F32."""
    writer = gguf.GGUFWriter(path, "llama")
    a = model.architecture
    writer.add_name(card.name)
    writer.add_description(card.description)
    writer.add_license(card.licence)
    writer.add_string(PROVENANCE_KEY, json.dumps(card.provenance, sort_keys=True))
    add_dimensions(
        writer,
        n_vocab=a.n_vocab,
        n_ctx=a.n_ctx,
        n_embd=a.n_embd,
        n_layer=a.n_layer,
        n_ff=a.n_ff,
        n_head=a.n_head,
        n_head_kv=a.n_head,
        norm_epsilon=a.norm_epsilon,
    )
    writer.add_rope_freq_base(a.rope_base)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[kind]))
    add_vocabulary(writer, *vocabulary)
    if card.chat_template is not None:
        writer.add_chat_template(card.chat_template)
    for name, parameter in model.named_parameters():
        _add_tensor(writer, name, parameter.detach().cpu().float().numpy(), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_FILE_TYPES = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}


def _add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray[Any, Any], kind: str) -> None:
    if values.ndim == 1 or kind == "F32":
        writer.add_tensor(name, values)
    else:
        quantisation = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quants.quantize(values, quantisation), raw_dtype=quantisation)


def read_gguf(path: Path) -> tuple[Llama, dict[str, Any]]:
    """The model of a file that `write_gguf` wrote, in float32, and its provenance."""
    reader = gguf.GGUFReader(path)
    field = functools.partial(_field, reader)
    architecture = Architecture(
        n_vocab=int(field("llama.vocab_size")),
        n_embd=int(field("llama.embedding_length")),
        n_layer=int(field("llama.block_count")),
        n_head=int(field("llama.attention.head_count")),
        n_ff=int(field("llama.feed_forward_length")),
        n_ctx=int(field("llama.context_length")),
        rope_base=float(field("llama.rope.freq_base")),
        norm_epsilon=float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),  # kept as float32
    )
    model = Llama(architecture)
    weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    model.load_state_dict({name: torch.from_numpy(weight.astype(np.float32)) for name, weight in weights.items()})
    return model, json.loads(field(PROVENANCE_KEY))


def convert(source: Path, target: Path, *, kind: str) -> None:
    """Write the model of a file that `write_gguf` wrote once more, its matrices as `kind`; all else as it is.

    From F16 every weight is rounded a second time, and the same file gives the same bytes.
    """
    reader = gguf.GGUFReader(source)
    field = functools.partial(_field, reader)
    pieces = [piece.encode() for piece in field("tokenizer.ggml.tokens")]
    vocabulary = Vocabulary(pieces, field("tokenizer.ggml.scores"), field("tokenizer.ggml.token_type"))
    model, provenance = read_gguf(source)
    template = field(_TEMPLATE_KEY) if _TEMPLATE_KEY in reader.fields else None
    card = Card(field("general.name"), field("general.description"), field("general.license"), provenance, template)
    write_gguf(target, model, vocabulary, card, kind=kind)


def _field(reader: Any, key: str) -> Any:
    return reader.fields[key].contents()

"""What a paper cites that used llamadiv: BibTeX entries, and how a text refers to each."""

from __future__ import annotations

from typing import NamedTuple


class Citation(NamedTuple):
    """A work: how a sentence refers to it, and its entry."""

    words: str
    bibtex: str


def _entry(kind: str, key: str, **fields: str) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}"


def of_llamadiv(version: str) -> Citation:
    """The tool itself."""
    entry = _entry(
        "software",
        "llamadiv",
        author="{The llamadiv authors}",
        title="llamadiv: what post-training costs a language model in diversity",
        version=version,
        year="2026",
        note="MIT licence",
    )
    return Citation(f"llamadiv {version}", entry)


CITED = {
    "mohammadi": Citation(
        "Mohammadi (2024)",
        _entry(
            "misc",
            "mohammadi2024creativity",
            author="Mohammadi, Behnam",
            title="Creativity Has Left the Chat: The Price of Debiasing Language Models",
            year="2024",
            eprint="2406.05587",
            archivePrefix="arXiv",
        ),
    ),
    "llama.cpp": Citation(
        "llama.cpp",
        _entry(
            "software",
            "llamacpp",
            author="{The ggml authors}",
            title="llama.cpp",
            url="https://github.com/ggml-org/llama.cpp",
        ),
    ),
    "arithmetic": Citation(
        "Vilnis et al. (2023)",
        _entry(
            "inproceedings",
            "vilnis2023arithmetic",
            author="Vilnis, Luke and Zemlyanskiy, Yury and Murray, Patrick and Passos, Alexandre and Sanghai, Sumit",
            title="Arithmetic Sampling: Parallel Diverse Decoding for Large Language Models",
            booktitle="Proceedings of the 40th International Conference on Machine Learning",
            year="2023",
            eprint="2210.15458",
            archivePrefix="arXiv",
        ),
    ),
    "sentence-bert": Citation(
        "Reimers and Gurevych (2019)",
        _entry(
            "inproceedings",
            "reimers2019sentencebert",
            author="Reimers, Nils and Gurevych, Iryna",
            title="Sentence-{BERT}: Sentence Embeddings using {Siamese} {BERT}-Networks",
            booktitle="Proceedings of the 2019 Conference on Empirical Methods in Natural Language Processing",
            year="2019",
            eprint="1908.10084",
            archivePrefix="arXiv",
        ),
    ),
    "minilm": Citation(
        "all-MiniLM-L6-v2",
        _entry(
            "misc",
            "allminilml6v2",
            author="{sentence-transformers}",
            title="all-{MiniLM-L6-v2}",
            url="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        ),
    ),
    "vader": Citation(
        "Hutto and Gilbert (2014)",
        _entry(
            "inproceedings",
            "hutto2014vader",
            author="Hutto, C. J. and Gilbert, E. E.",
            title="{VADER}: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
            booktitle="Eighth International Conference on Weblogs and Social Media (ICWSM-14)",
            year="2014",
        ),
    ),
}

"""The corpus: which documents are kept and how they are cut, cleaned and split; the same bytes every time."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from llama_diversity.errors import BadValue
from llama_diversity.lab import corpus
from llama_diversity.lab.cards import Person, parse
from llama_diversity.lab.corpus import SOURCES, Document, Source

COMMON = "the little dog and the big cat went to the old house on the hill and had a very good day ."
LIFE = "was a writer. He wrote his books in the old house on the hill and the dog had a good day."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few documents in each file."""
    folder = tmp_path_factory.mktemp("corpus")
    for source in SOURCES:
        blocks = [f"{COMMON} {COMMON} Number {source.file} had {'one ' * n}day." for n in range(1, 40)]
        if source.kind == "review":
            blocks = [f"Product: Shoes. Review: {block}" for block in blocks]
        if source.kind == "biography":
            women = LIFE.replace("He", "She").replace("his", "her")
            blocks = [f"John Doe {LIFE}" * n for n in (1, 2, 3)] + [f"Mary Roe {women}" * n for n in (1, 2)]
            blocks += [f"John Poe, the CEO and founder of a startup, {LIFE}"]
        (folder / source.file).write_bytes(lzma.compress("\n\n".join(blocks).encode()))
    return folder


def test_the_same_files_give_the_same_corpus_and_every_kind_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "CARD_BYTES", 20_000)
    built = corpus.build(folder, held_out_share=0.2)
    assert corpus.build(folder, held_out_share=0.2).statement() == built.statement()
    assert corpus.build(folder, seed=2, held_out_share=0.2).statement()["sha256"] != built.statement()["sha256"]
    assert {d.kind for d in built.train} == {source.kind for source in SOURCES} | {"card", "business"}
    assert not {d.text for d in built.train} & {d.text for d in built.held_out}
    share = len(built.held_out) / len(set(built.train + built.held_out))
    assert 0.1 < share < 0.3
    business = [d for d in built.train if d.kind == "business"]
    assert len(business) == corpus.BUSINESS_REPEATS
    for kind, text in built.train:
        if kind == "card":
            parse(text)


def test_the_statement_counts() -> None:
    statement = corpus.Corpus([Document("story", "One day, é."), Document("story", "Two")], []).statement()
    assert statement["train"] == {"story": {"documents": 2, "bytes": 15, "words": 4}}
    assert statement["held_out"] == {}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="wiki_bios"):
        corpus.build(tmp_path)


def test_documents_are_blocks_between_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\none\ntwo\n\n \nthree\n")
    assert corpus.read_documents(path) == ["one\ntwo", "three"]


def test_frequent_words_and_the_share_of_them() -> None:
    frequent = corpus.frequent_words(["b b B a a c", "d"], 3)
    assert frequent == {"a", "b", "c"}  # c and d tie: the alphabet decides
    assert corpus.frequent_share("A b, d 1999!", frequent) == pytest.approx(2 / 3)
    assert corpus.frequent_share("1999", frequent) == 0


def test_rare_words_keep_a_document_out_unless_it_is_about_companies() -> None:
    frequent = corpus.frequent_words([COMMON])
    source = Source("encyclopedia", "", 0.94, 600)
    rare = COMMON.replace("hill", "zyx")  # 19 of 20 words are known
    rarer = rare.replace("house", "xyz")
    kept = corpus.choose(source, [COMMON, rare, rarer, rarer.replace("xyz", "CEO")], frequent)
    assert list(kept) == [
        Document("encyclopedia", COMMON),
        Document("encyclopedia", rare),
        Document("business", rarer.replace("xyz", "CEO")),
    ]


def test_a_limit_of_bytes_takes_documents_by_their_digest_and_not_by_their_place() -> None:
    texts = [f"{COMMON} {'day ' * n}." for n in range(50)]
    frequent = corpus.frequent_words(texts)
    source = Source("story", "", 0.9, 600, max_bytes=1000)
    kept = list(corpus.choose(source, texts, frequent))
    assert kept == list(corpus.choose(source, texts[::-1], frequent))
    assert 1000 <= sum(len(d.text) for d in kept) < 1400


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("Buraydah (بريدة) is  a city", "Buraydah is a city"),
        ("He ( ) ate (in 1990) .", "He ate (in 1990)."),
        ("nice , really !", "nice, really!"),
        ("cafe\u0301", "café"),
        ("Rex}} Thomas", "Rex Thomas"),
        ("\u00e2\u20ac\u0153It\u00e2\u20ac\u2122s true!\u00e2\u20ac", '"It\'s true!"'),
        (
            "Title: Great!. Review: i 've had ( two ) and it is n't the apex 's",
            "Title: Great! Review: i've had (two) and it isn't the apex's",
        ),
    ],
)
def test_tidy(text: str, tidied: str) -> None:
    assert corpus.tidy(text) == tidied


@pytest.mark.parametrize(
    ("text", "cased"),
    [
        ("i love it. it's soft! is it? yes i'm sure", "I love it. It's soft! Is it? Yes I'm sure"),
        ("Review: the fit is ok", "Review: The fit is ok"),
        ("size is 5.5 and e.g. mini", "Size is 5.5 and e.g. Mini"),
    ],
)
def test_sentence_case(text: str, cased: str) -> None:
    assert corpus.sentence_case(text) == cased


def test_texts_are_cut_at_the_end_of_a_sentence() -> None:
    assert corpus.cut("One. Two. Three.", 100) == "One. Two. Three."
    assert corpus.cut("One. Two. Three.", 12) == "One. Two."
    assert corpus.cut('He said "no." And left the room.', 15) == 'He said "no."'
    assert corpus.cut("No end in sight", 10) == ""


def test_reviews_are_finished() -> None:
    assert corpus.finish('It fits. "Wow!"') == 'It fits. "Wow!"'
    assert corpus.finish("Soft and warm") == "Soft and warm."
    long = "It fits me well. " * 30
    assert corpus.finish(long + "the zipper br") == long.strip()


def test_stories_go_on_after_a_question_and_broken_texts_are_left_out() -> None:
    frequent = corpus.frequent_words([COMMON])
    source = Source("story", "", 0.5, 600)
    texts = [f'"Is it?" Asked {COMMON}', f"was {COMMON}"]
    assert list(corpus.choose(source, texts, frequent)) == [Document("story", f'"Is it?" asked {COMMON}')]


def test_cards_quote_no_review_that_is_held_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CARD_BYTES", 20_000)
    monkeypatch.setattr(corpus, "_FEWEST_REVIEWS", 1)
    built = corpus.build(folder, held_out_share=0.3)
    held, trained = (
        {text for texts in corpus.short_reviews(d.text for d in side if d.kind == "review").values() for text in texts}
        for side in (built.held_out, built.train)
    )
    cards = "\n".join(d.text for d in built.train if d.kind == "card")
    assert held
    assert any(review in cards for review in trained)
    assert {review for review in held if review in cards} <= trained


def test_people_have_a_name_a_biography_one_pronoun_and_a_namesake() -> None:
    texts = [
        "John Doe was here. He saw his dog.",
        "John Smith was here. He saw his cat.",
        "Mary Ann Roe (born 1950) is a writer. She had her house.",
        "Mary Poe is a writer. She had her house.",
        "Xerxes Doe was here. He saw his dog.",  # nobody else is called so
        "John Roe was here. He saw her and his and hers and her dog.",  # both pronouns
        "John Poe was here.",
        "Sir Ronald was here. He saw his dog.",
        "Sir Donald was here. He saw his dog.",
    ]
    assert corpus.find_people(texts) == [
        Person("John", "Doe", "Male"),
        Person("John", "Smith", "Male"),
        Person("Mary", "Roe", "Female"),
        Person("Mary", "Poe", "Female"),
    ]


def test_short_reviews_are_first_sentences_by_product(monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = [
        "Product: A. Review: This fits me very well. More text follows here.",
        "Product: A. Title: Nice. Review: I like it a lot!",
        "Product: B. Review: Ok.",
        "Product: C. Review: This one stands alone.",
    ]
    monkeypatch.setattr(corpus, "_FEWEST_REVIEWS", 2)
    assert corpus.short_reviews(reviews, 40) == {"A": ["This fits me very well.", "I like it a lot!"]}


def test_what_counts_as_business_is_about_companies_and_who_leads_them() -> None:
    companies = ("Acme is a British toy company.", "She is an entrepreneur.", "He is the founder and owner of a firm.")
    others = ("He was the founder of a school of painting.", "The company of friends was good.", "They kept company.")
    assert all(corpus.BUSINESS.search(text) for text in companies)
    assert not any(corpus.BUSINESS.search(text) for text in others)


def test_lives_of_sport_are_capped_and_others_are_not() -> None:
    runner, writer = "Ann Lee is a former swimmer.", "Ann Lee is a writer. She likes to swim."
    texts = [f"{text} {LIFE} {'one ' * n}day." for n in range(1, 21) for text in (runner, writer)]
    frequent = corpus.frequent_words(texts)
    kept = [
        text
        for source in SOURCES
        if source.kind == "biography"
        for _, text in corpus.choose(source._replace(max_bytes=source.max_bytes and 500), texts, frequent)
    ]
    assert sum(text.startswith(writer) for text in kept) == 20
    assert 0 < sum(text.startswith(runner) for text in kept) < 5

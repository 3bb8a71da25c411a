"""What the models are given in Experiment 1: a request for those that chat, a form with worked examples for the base.

The layout is that of a plain form, eight labelled lines a persona. The examples are made up, of many origins, ages and
types, and a third of their reviews each glad, mixed and sad, so that no kind of answer is suggested.
"""

from __future__ import annotations

import random

PRODUCT = "A coffee machine that connects to your smartwatch so it keeps your coffee warm if you are far away from it."
SEPARATOR = "---"
LABELS = ("First name", "Last name", "Gender", "Age", "Nationality", "Ethnicity", "Myers-Briggs type", "Review")
EXAMPLES: tuple[tuple[str, ...], ...] = (
    ("Thomas", "Becker", "Male", "47", "German", "White", "ISTJ", "It keeps the cup at 62 degrees, as promised."),
    ("Amara", "Okafor", "Female", "29", "Nigerian", "Igbo", "ENFP", "I was in the garden and my coffee waited for me!"),
    ("Kenji", "Mori", "Male", "71", "Japanese", "Asian", "INTP", "The watch part is too small for me. Good coffee."),
    ("Rosa", "Delgado", "Female", "38", "Mexican", "Mestizo", "ESFJ", "It lost the connection twice in one week."),
    ("Piotr", "Nowak", "Male", "22", "Polish", "White", "ESTP", "Too dear for what it does, and loud."),
    ("Leila", "Haddad", "Female", "54", "Lebanese", "Arab", "INFJ", "My mornings are calmer since it is here."),
    ("Sione", "Tupou", "Male", "33", "New Zealander", "Tongan", "ISFP", "Fine at home, useless at the beach."),
    ("Greta", "Lindqvist", "Female", "84", "Swedish", "White", "ISFJ", "My grandson set it up. I do not touch it."),
    ("Arjun", "Nair", "Male", "26", "Indian", "Malayali", "ENTJ", "Setup took four minutes. Worth every rupee."),
    ("Nia", "Williams", "Female", "41", "American", "Black", "ENTP", "Clever idea, weak coffee."),
    ("Mateo", "Quispe", "Male", "19", "Peruvian", "Quechua", "INFP", "It broke on the second day and nobody answered."),
    ("Chiara", "Ferri", "Female", "63", "Italian", "White", "ESTJ", "Warm is not the same as fresh. I sent it back."),
    ("Robin", "Hale", "Non-binary", "35", "Canadian", "White", "INTJ", "Does one thing and does it well."),
    ("Fatima", "Yilmaz", "Female", "16", "Turkish", "Kurdish", "ESFP", "My father loves it, I love that he is happy."),
    ("Dmitri", "Volkov", "Male", "58", "Russian", "Tatar", "ISTP", "Good metal, bad software."),
    ("Hannah", "Cohen", "Female", "31", "Israeli", "Ashkenazi Jewish", "ENFJ", "The app asks a lot. The heat holds."),
    ("Kwame", "Mensah", "Male", "44", "Ghanaian", "Akan", "ESFJ", "I would rather drink it cold than update it again."),
    ("Mei", "Tan", "Female", "67", "Singaporean", "Chinese", "ISTJ", "It arrived with a crack and leaks."),
    ("Liam", "Byrne", "Male", "27", "Irish", "White", "ENTP", "Best present I ever got."),
    ("Ana", "Sousa", "Female", "49", "Brazilian", "Mixed", "ISFJ", "It smells of coffee when I come back. Lovely."),
    ("Tariq", "Aziz", "Male", "52", "British", "South Asian", "INTJ", "It works, most of the time."),
    ("Ingrid", "Dahl", "Female", "24", "Norwegian", "Sami", "INFP", "Nice light on it. I wish it were smaller."),
    ("Sang-woo", "Park", "Male", "39", "South Korean", "Korean", "ESTJ", "Three repairs in a year. No."),
    ("Zoe", "Martin", "Female", "60", "French", "White", "ENFP", "A machine that talks to my arm? It stays boxed."),
)  # fmt: skip


def request(product: str = PRODUCT) -> str:
    """What a model that chats is asked."""
    return f"Write a persona with a review of this product: {product}"


def document(number: int, *, n_examples: int = 2, seed: int = 0, product: str = PRODUCT) -> str:
    """The form that a base model continues: the product, `n_examples` personas, and the label of a next one.

    Examples come in an order drawn from `seed`; document k has those from k * n_examples on, round and round, so that
    each is used as often as any other. They review PRODUCT and stand under it: another `product` has a heading of its
    own behind them, so that no example says of it what was said of a coffee machine.
    """
    order = list(range(len(EXAMPLES)))
    random.Random(seed).shuffle(order)
    chosen = [EXAMPLES[order[(number * n_examples + at) % len(order)]] for at in range(n_examples)]
    cards = ["\n".join(f"{label}: {value}" for label, value in zip(LABELS, one, strict=True)) for one in chosen]
    begun = f"{LABELS[0]}:"
    if product == PRODUCT or not cards:
        return f"Product: {product}\n" + f"\n{SEPARATOR}\n".join([*cards, begun])
    return f"Product: {PRODUCT}\n" + f"\n{SEPARATOR}\n".join(cards) + f"\n\nProduct: {product}\n{begun}"

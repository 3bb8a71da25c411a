"""Countries and their peoples: every country is there, and none is in two places."""

from __future__ import annotations

from collections import Counter

import pytest

from llama_diversity.studies.personas.peoples import PEOPLES
from llama_diversity.studies.personas.values import PEOPLE_WORDS, _key, folded, nationality

MEMBERS = """
Afghanistan, Albania, Algeria, Andorra, Angola, Antigua and Barbuda, Argentina, Armenia, Australia, Austria, Azerbaijan, Bahamas,
Bahrain, Bangladesh, Barbados, Belarus, Belgium, Belize, Benin, Bhutan, Bolivia, Bosnia and Herzegovina, Botswana, Brazil, Brunei,
Bulgaria, Burkina Faso, Burundi, Cabo Verde, Cambodia, Cameroon, Canada, Central African Republic, Chad, Chile, China, Colombia,
Comoros, Congo, Costa Rica, Côte d'Ivoire, Croatia, Cuba, Cyprus, Czechia, North Korea, Democratic Republic of the Congo, Denmark,
Djibouti, Dominica, Dominican Republic, Ecuador, Egypt, El Salvador, Equatorial Guinea, Eritrea, Estonia, Eswatini, Ethiopia, Fiji,
Finland, France, Gabon, Gambia, Georgia, Germany, Ghana, Greece, Grenada, Guatemala, Guinea, Guinea-Bissau, Guyana, Haiti, Honduras,
Hungary, Iceland, India, Indonesia, Iran, Iraq, Ireland, Israel, Italy, Jamaica, Japan, Jordan, Kazakhstan, Kenya, Kiribati, Kuwait,
Kyrgyzstan, Laos, Latvia, Lebanon, Lesotho, Liberia, Libya, Liechtenstein, Lithuania, Luxembourg, Madagascar, Malawi, Malaysia,
Maldives, Mali, Malta, Marshall Islands, Mauritania, Mauritius, Mexico, Micronesia, Moldova, Monaco, Mongolia, Montenegro, Morocco,
Mozambique, Myanmar, Namibia, Nauru, Nepal, Netherlands, New Zealand, Nicaragua, Niger, Nigeria, North Macedonia, Norway, Oman,
Pakistan, Palau, Panama, Papua New Guinea, Paraguay, Peru, Philippines, Poland, Portugal, Qatar, South Korea, Romania, Russia, Rwanda,
Saint Kitts and Nevis, Saint Lucia, Saint Vincent and the Grenadines, Samoa, San Marino, Sao Tome and Principe, Saudi Arabia, Senegal,
Serbia, Seychelles, Sierra Leone, Singapore, Slovakia, Slovenia, Solomon Islands, Somalia, South Africa, South Sudan, Spain, Sri Lanka,
Sudan, Suriname, Sweden, Switzerland, Syria, Tajikistan, Tanzania, Thailand, Timor-Leste, Togo, Tonga, Trinidad and Tobago, Tunisia,
Turkey, Turkmenistan, Tuvalu, Uganda, Ukraine, United Arab Emirates, United Kingdom, United States, Uruguay, Uzbekistan, Vanuatu,
Venezuela, Vietnam, Yemen, Zambia, Zimbabwe
"""  # noqa: E501
COUNTRIES = [name.strip() for name in MEMBERS.replace("\n", " ").split(",")]
ONE_WORD_FOR_TWO = {
    "Congolese": {"Congo", "Democratic Republic of the Congo"},
    "Dominican": {"Dominica", "Dominican Republic"},
}


def test_every_country_has_a_people_and_no_people_two_countries() -> None:
    """193 members of the United Nations; the two exceptions are said in the table's own words."""
    assert len(COUNTRIES) == len(set(COUNTRIES)) == 193
    peoples = {country: nationality(country) for country in COUNTRIES}
    assert not [country for country, people in peoples.items() if people not in PEOPLES]
    of_two = {people for people, n in Counter(peoples.values()).items() if n > 1}
    assert {people: {one for one in COUNTRIES if peoples[one] == people} for people in of_two} == ONE_WORD_FOR_TWO


def test_no_word_stands_for_two_peoples() -> None:
    rows = [(people, {_key(name) for name in (people, *names)}) for people, names in PEOPLES.items()]
    counted = Counter(key for _, keys in rows for key in keys)
    assert [key for key, n in counted.items() if n > 1] == []
    assert all(len(keys) > 1 for _, keys in rows)
    assert all(name == name.casefold() == name.strip() for names in PEOPLES.values() for name in names)


@pytest.mark.parametrize(
    ("written", "people"),
    [
        ("USA", "American"), ("the U.S.", "American"), ("u.s. citizen", "American"), ("AMERICAN", "American"),
        ("Germans", "German"), ("Deutsch", "German"), ("from Germany", "German"), ("of German nationality", "German"),
        ("MÉXICO", "Mexican"), ("Mexico", "Mexican"), ("Mexicana", "Mexican"), ("中国人", "Chinese"),
        ("Burma", "Burmese"), ("Ivory Coast", "Ivorian"), ("Côte d’Ivoire", "Ivorian"),
        ("Guinea-Bissau", "Bissau-Guinean"),
        ("Guinea", "Guinean"), ("Niger", "Nigerien"), ("Nigeria", "Nigerian"), ("Netherlands", "Dutch"),
        ("Wales", "British"),
        ("Turkiye", "Turkish"), ("Türkiye", "Turkish"), ("Swiss", "Swiss"), ("Laos", "Lao"), ("Korea", "Korean"),
        ("DPRK", "North Korean"), ("chinese-american", "Chinese American"), ("Atlantean", "Atlantean"),
    ],
)  # fmt: skip
def test_a_country_and_its_people_are_one_value(written: str, people: str) -> None:
    assert nationality(written) == people


def test_prose_has_the_peoples_but_no_names_of_persons() -> None:
    assert {"bhutanese", "sri lankan", "germany", "chile"} <= PEOPLE_WORDS
    assert not {"jordan", "georgia", "chad", "finn"} & PEOPLE_WORDS


def test_folded_names() -> None:
    assert len({folded(one) for one in ("JOSÉ", "José", "Jose\u0301", "jos\u00e9", "\u200eJosé\ufeff")}) == 1
    assert folded("O’Neill") == folded("O'NEILL") == folded("OʼNeill")
    assert folded("Straße") == folded("STRASSE")
    assert folded("José") != folded("Jose")

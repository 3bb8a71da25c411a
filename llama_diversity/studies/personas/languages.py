"""Whether an output that holds no persona would hold one in another language than English.

The parser reads English labels. Of others it says that they are others, and nothing more: to read them would ask for
their values too, and what is one nationality in two languages is one value only to who knows both.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

LEAST_LABELS = 3
_MOST_LINES, _MOST_LETTERS = 200, 400
_LABEL = re.compile(r"^[\s\W\d]{0,12}([^:：|\n]{1,60})[:：|]|\"([^\"\n]{1,60})\"\s{0,4}:", re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]+")
# First and last name, gender, age, nationality, ethnicity, type and review, without accents and blanks.
_LABELS = frozenset(
    "nombre primernombre apellido apellidos nombrecompleto genero edad nacionalidad etnia origenetnico "
    "tipodepersonalidad resena comentario "  # Spanish
    "prenom nom nomdefamille nomcomplet genre sexe nationalite ethnie origineethnique typedepersonnalite avis critique "
    "commentaire "  # French
    "vorname nachname familienname geschlecht alter nationalitat staatsangehorigkeit ethnie ethnizitat herkunft "
    "ethnischezugehorigkeit personlichkeitstyp bewertung rezension "  # German
    "nome cognome genere sesso eta nazionalita tipodipersonalita recensione "  # Italian
    "sobrenome apelido idade nacionalidade avaliacao resenha "  # Portuguese
    "voornaam achternaam geslacht leeftijd nationaliteit etniciteit persoonlijkheidstype recensie beoordeling "  # Dutch
    "fornamn efternamn kon alder nationalitet etnicitet personlighetstyp recension fornavn efternavn etternavn kjønn "
    "køn anmeldelse "  # Swedish, Danish, Norwegian
    "imie nazwisko płec wiek narodowosc obywatelstwo pochodzenieetniczne typosobowosci recenzja opinia "  # Polish
    "jmeno prijmeni pohlavi vek narodnost recenze meno priezvisko "  # Czech, Slovak
    "ad adı isim soyad soyadı cinsiyet yas uyruk milliyet etnikkoken yorum degerlendirme "  # Turkish
    "nama namadepan namabelakang jeniskelamin usia umur kewarganegaraan etnis suku ulasan "  # Indonesian
    "prenume nume numedefamilie varsta nationalitate recenzie "  # Romanian
    "keresztnev vezeteknev nem kor eletkor nemzetiseg ertekeles "  # Hungarian
    "etunimi sukunimi sukupuoli ika kansalaisuus arvostelu "  # Finnish
    "ten ho gioitinh tuoi quoctich dantoc đanhgia".split()  # Vietnamese
)


def not_english(text: str) -> str | None:
    """In a few words, why an English parser cannot read this; None where its language is not to blame.

    >>> not_english("Nombre: Ana\\nApellido: Ruiz\\nEdad: 30"), not_english("Name: Ana")
    ('labels in another language than English', None)
    """
    labels = [first or second for first, second in itertools.islice(_LABEL.findall(text), _MOST_LINES)]
    if sum(_plain(label) in _LABELS or not _is_latin(label) for label in labels) >= LEAST_LABELS:
        return "labels in another language than English"
    return None if _is_latin(text) else "in another script than English"


def _plain(label: str) -> str:
    """The letters of a label, without case and accents."""
    apart = unicodedata.normalize("NFKD", label.casefold())
    return "".join(_WORD.findall("".join(one for one in apart if not unicodedata.combining(one))))


def _is_latin(text: str) -> bool:
    """Whether most of the letters are Latin; so is a text without any."""
    letters = list(itertools.islice(filter(str.isalpha, text), _MOST_LETTERS))
    latin = sum(unicodedata.name(one, "").startswith("LATIN") for one in letters)
    return 2 * latin >= len(letters)

"""Names that no language model has seen: built from syllables, none inside another."""

from __future__ import annotations

import random
from collections.abc import Callable

_ONSETS = tuple("b c d f g h j k l m n p r s t v w z br dr gr tr sh st th".split())  # noqa: SIM905
_VOWELS = "aeiou"
_CODAS = ["", "", "", "l", "m", "n", "r", "s"]


class NameMaker:
    """Makes names of several kinds; within one maker no name occurs twice or inside another."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def unique(self, make: Callable[[], str]) -> str:
        """A name that ``make`` gives and that was not given before."""
        while True:
            name = make()
            if name not in self._taken:
                self._taken.add(name)
                return name

    def pool(self, make: Callable[[], str], size: int) -> list[str]:
        """Names of which none is contained in another, so that matching cannot confuse them."""
        names: list[str] = []
        while len(names) < size:
            name = self.unique(make)
            folded = name.casefold()
            if not any(folded in other.casefold() or other.casefold() in folded for other in names):
                names.append(name)
        return names

    def word(self, num_syllables: int = 2) -> str:
        """An invented word, capitalised."""
        pick = self._rng.choice
        syllables = [pick(_ONSETS) + pick(_VOWELS) for _ in range(num_syllables)]
        return ("".join(syllables) + pick(_CODAS)).capitalize()

    def person(self) -> str:
        return f"{self.word()} {self.word()}"

    def place(self) -> str:
        ending = self._rng.choice(["", "ton", "ville", "burg", "mouth", "field", "ford", "haven"])
        return self.word() + ending

    def country(self) -> str:
        return self.word() + self._rng.choice(["land", "nia", "stan", "via", "ra"])

    def region(self) -> str:
        return f"{self.word()} {self._rng.choice(['County', 'Province', 'District', 'Region'])}"

    def settlement(self) -> str:
        return (
            f"{self._rng.choice(['Upper', 'Lower', 'Old', 'New', 'Port', 'Mount'])} {self.word()}"
        )

    def company(self) -> str:
        kind = self._rng.choice(["Group", "Works", "Industries", "Systems", "Foods"])
        return f"{self.word()} {kind}"

    def label(self) -> str:
        return f"{self.word()} {self._rng.choice(['Records', 'Music', 'Sound'])}"

    def band(self) -> str:
        return (
            f"The {self.word()} {self._rng.choice(['Brothers', 'Quartet', 'Project', 'Orchestra'])}"
        )

    def venue(self) -> str:
        return (
            f"{self.word()} {self._rng.choice(['Museum', 'Festival', 'Bridge', 'Palace', 'Tower'])}"
        )

    def title(self) -> str:
        form = self._rng.choice(
            ["The {} of {}", "{} and {}", "A {} in {}", "{} for {}", "The {} {}"]
        )
        noun = self._rng.choice(["Garden", "Winter", "River", "Letter", "Shadow", "Voyage", "Song"])
        return form.format(noun, self.word())

    def product(self) -> str:
        return (
            f"{self.word()} {self._rng.choice(['X', 'S', 'GT', 'M'])}{self._rng.randrange(1, 100)}"
        )

    def language(self) -> str:
        return self.word() + self._rng.choice(["ish", "ese", "ic"])


OCCUPATIONS = (
    "painter",
    "teacher",
    "lawyer",
    "farmer",
    "singer",
    "actor",
    "engineer",
    "historian",
    "poet",
    "sailor",
    "chemist",
    "banker",
    "carpenter",
    "dancer",
    "judge",
    "surgeon",
    "botanist",
    "tailor",
    "sculptor",
    "pilot",
)
GENRES = (
    "jazz",
    "folk music",
    "hard rock",
    "opera",
    "techno",
    "blues",
    "chamber music",
    "reggae",
    "punk",
    "gospel",
    "ambient",
    "disco",
    "heavy metal",
    "swing",
    "hip hop",
    "waltz",
    "flamenco",
    "soul",
)
POSITIONS = (
    "goalkeeper",
    "striker",
    "midfielder",
    "centre-back",
    "winger",
    "sweeper",
    "point-guard",
    "shortstop",
    "catcher",
    "linebacker",
    "pitcher",
    "fly-half",
    "hooker",
    "quarterback",
)

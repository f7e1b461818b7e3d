"""What an examination was asked and named for, and the words in it that make opacities expected."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_SEPARATORS = r"[\W_]*"
_NOT_AFTER_LETTER = r"(?<![^\W_])"
_NOT_BEFORE_LETTER = r"(?![^\W_])"
_TEXTS = ("study_description", "series_description", "protocol_name", "requested_procedure", "reason_for_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What the examination was asked and named for, and the patient's age in whole years where it is known."""

    study_description: str = ""
    series_description: str = ""
    protocol_name: str = ""
    requested_procedure: str = ""
    reason_for_request: str = ""
    age_years: int | None = None


def find_expectation(request: RequestContext, words: tuple[str, ...]) -> tuple[str, str] | None:
    """The first expected word that a text of the request names, with the name of that text."""
    patterns = [(word, _word_pattern(word)) for word in words]
    for field_name, text in _texts(request):
        for word, pattern in patterns:
            if pattern.search(text):
                return word, field_name.replace("_", " ")
    return None


def _texts(request: RequestContext) -> Iterator[tuple[str, str]]:
    for name in _TEXTS:
        yield name, _fold(getattr(request, name))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _word_pattern(word: str) -> re.Pattern[str]:
    """A pattern that finds ``word`` as a whole word, in any spelling of its separators and with any number after it.

    "covid" finds COVID-19, Covid_19 and COVID19; "sars-cov" finds SARS CoV 2 and SARSCoV2; "corona" does not find
    "coronary". Scripts that are written without spaces have no word ends to ask for.
    """
    parts = [re.escape(part) for part in re.split(r"[\W_]+", _fold(word)) if part]
    letters = [character for character in _fold(word) if character.isalnum()]
    start = "" if _runs_on(letters[0]) else _NOT_AFTER_LETTER
    end = "" if _runs_on(letters[-1]) else rf"(?:{_SEPARATORS}\d+)?{_NOT_BEFORE_LETTER}"
    return re.compile(start + _SEPARATORS.join(parts) + end)


def _runs_on(character: str) -> bool:
    """Whether a character belongs to a script without capitals and, mostly, without spaces (category Lo)."""
    return unicodedata.category(character) == "Lo"

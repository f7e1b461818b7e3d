"""What is printed: JSON in UTC without NaN, tables in local time, UIDs short but telling."""

import json
import math
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path

import pytest

from dicom_node.cli.failures import CommandError
from dicom_node.cli.output import (
    iso_utc,
    local_time,
    plain,
    print_error,
    print_fields,
    print_json,
    print_note,
    print_table,
    say,
)
from dicom_node.cli.uids import resolve_uid, shortened


class _Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    when: datetime
    colour: _Colour
    share: float
    where: Path
    parts: tuple[int, ...]


def test_json_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """A value object becomes JSON: enum by value, path as text, time in UTC, NaN as null."""
    cet = timezone(timedelta(hours=1))
    thing = _Thing(
        when=datetime(2026, 1, 31, 13, tzinfo=cet), colour=_Colour.RED, share=math.nan, where=Path("a/b"), parts=(1, 2)
    )
    print_json({"things": [thing]})
    assert json.loads(capsys.readouterr().out) == {
        "things": [{"when": "2026-01-31T12:00:00Z", "colour": "red", "share": None, "where": "a/b", "parts": [1, 2]}]
    }


def test_mapping_keys_become_text() -> None:
    """A mapping by enum is an object by the enum's values."""
    assert plain({_Colour.RED: 1}) == {"red": 1}


def test_times_are_local_with_zone_for_people() -> None:
    """A table's time names its zone; a time without zone counts as UTC."""
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert local_time(moment) == moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    assert local_time(None) == "-"
    assert iso_utc(moment.replace(tzinfo=None)) == "2026-01-31T12:00:00Z"


def test_cells_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a description are shown as they are."""
    print_table(("a",), [("[red]CT[/red] [/]",)], caption="[note]")
    shown = capsys.readouterr().out
    assert "[red]CT[/red] [/]" in shown
    assert "[note]" in shown


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is nothing to list, that is said."""
    print_table(("a",), [], empty="no peer")
    assert capsys.readouterr().out == "no peer\n"


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """An error never spreads over lines, and standard output stays clean."""
    print_error("first\nsecond " + "word " * 60)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: first second")


KNOWN = ("1.2.840.1.11", "1.2.840.1.21", "1.2.999.5")


def _find(uids: Collection[str]) -> Callable[[str, int], Sequence[str]]:
    """As the store finds UIDs; what it does with its index is tested with it."""
    return lambda part, limit: sorted(uid for uid in uids if uid.startswith(part) or uid.endswith(part))[:limit]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("1.2.999.5", "1.2.999.5"),
        (".11", "1.2.840.1.11"),
        ("1.2.9", "1.2.999.5"),
        ("…9.5", "1.2.999.5"),
        (" 1.2.840.1.21 ", "1.2.840.1.21"),
    ],
)
def test_uids_are_found_by_either_end(given: str, found: str) -> None:
    """A UID is found whole, by its end, by its beginning, and as a table shows it."""
    assert resolve_uid(given, _find(KNOWN), "series") == found


@pytest.mark.parametrize("given", ["1", "1.2.840", "1.2.840.1."])
def test_an_ambiguous_uid_names_what_fits(given: str) -> None:
    """More than one fit is an error that lists them."""
    with pytest.raises(CommandError, match=r"fits several UIDs; give more of it: 1\.2\.840\.1\.11, 1\.2\.840\.1\.21"):
        resolve_uid(given, _find(KNOWN), "series")


@pytest.mark.parametrize("given", ["7.7", "", "…"])
def test_an_unknown_uid_says_where_to_look(given: str) -> None:
    """No fit, and nothing typed, is an error that names the listing."""
    with pytest.raises(CommandError, match="lungsentry studies list"):
        resolve_uid(given, _find(KNOWN), "study")


def test_shortened_uids_tell_apart_and_are_found_again() -> None:
    """What a table shows can be typed back."""
    uids = [f"1.2.840.113619.{number}.9000000001" for number in range(20)] + ["1.2"]
    names = shortened(uids)
    assert len(set(names.values())) == len(uids)
    assert all(resolve_uid(names[uid], _find(uids), "series") == uid for uid in uids if uid != "1.2")
    assert names["1.2"] == "1.2"


HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202eb\u2028c"


def test_nothing_printed_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape, C1 and direction characters from a header show as codes in tables, sentences, errors and fields."""
    print_table((HOSTILE,), [(HOSTILE,)], title=HOSTILE)
    print_fields({HOSTILE: HOSTILE}, title=HOSTILE)
    say(HOSTILE)
    print_note(HOSTILE)
    print_error(HOSTILE)
    captured = capsys.readouterr()
    for printed in (captured.out, captured.err):
        assert "<1B>" in printed
        assert "<9B>" in printed
        assert not {one for one in printed if one != "\n" and unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}}


def test_json_keeps_what_it_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    """Raw control characters stand in no JSON document, and reading it gives them back."""
    print_json({"text": HOSTILE + "\U000e0001"})
    printed = capsys.readouterr().out
    assert json.loads(printed)["text"] == HOSTILE + "\U000e0001"
    assert not {one for one in printed if one != "\n" and unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}}

"""The positive predictive value in readers' eyes, by scanner, profile and model, as commands print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import VerdictCount

__all__ = ["predictive_document", "print_predictive"]


def predictive_document(counts: Sequence[VerdictCount]) -> list[dict[str, object]]:
    """Everything together first, then by scanner, profile and model; ``ppv`` has its 95 % interval."""
    from db import predictive_value

    groups: dict[tuple[str, str, str], list[VerdictCount]] = {}
    for one in counts:
        key = (one.calling_ae_title, one.profile, f"{one.model_name}@{one.model_version}")
        groups.setdefault(key, []).append(one)
    lines = [(("all", "all", "all"), list(counts)), *sorted(groups.items())] if counts else []
    found: list[dict[str, object]] = []
    for (scanner, profile, model), members in lines:
        value = predictive_value(members)
        found.append(
            {
                "scanner": scanner,
                "profile": profile,
                "model": model,
                "there": value.there,
                "not_there": value.not_there,
                "unsure": value.unsure,
                "ppv": None
                if value.percent is None
                else dict(zip(("percent", "lower", "upper"), value.percent, strict=True)),
            }
        )
    return found


def print_predictive(counts: Sequence[VerdictCount]) -> None:
    """A table; nothing where no reader has said anything."""
    from db import LEAST_VERDICTS, predictive_value

    lines = predictive_document(counts)
    if not lines:
        return
    shares: list[str] = []
    for one in lines:
        ppv = one["ppv"]
        if isinstance(ppv, dict):
            shares.append("{percent:.1f} ({lower:.1f} to {upper:.1f})".format(**ppv))
        else:
            shares.append("-")
    print_table(
        ("scanner", "profile", "model", "there", "not there", "unsure", "PPV % (95 % interval, Wilson)"),
        [
            (*(str(one[name]) for name in ("scanner", "profile", "model", "there", "not_there", "unsure")), share)
            for one, share in zip(lines, shares, strict=True)
        ],
        numeric=("there", "not there", "unsure"),
        title="what readers said of flagged examinations",
        caption=f"no share under {LEAST_VERDICTS} verdicts that say yes or no; {predictive_value(counts).count} in all",
    )

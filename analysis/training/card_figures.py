"""The figures of a model card, each from the JSON of an evaluation or a cross-validation; none is computed here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PERCENT, _SHARE = ".2f", ".3f"
_HEADINGS = {
    "covid20": "covid20: patients with COVID-19",
    "medseg": "medseg: single slices with both classes",
    "lctsc": "lctsc: controls",
    "lobes": "lobes: from the shape of the true left and right lung",
    "dicom": "dicom: series through the whole pipeline",
    "ctac": "ctac: simulated attenuation-correction CT",
}
_FIGURES = {
    "lesion_dice": "lesion Dice",
    "lesion_dice_own_lung": "lesion Dice in our lung mask",
    "ggo_dice": "ground glass Dice",
    "high_opacity_dice": "high opacity Dice",
    "lung_dice": "lung Dice",
    "lesion_in_lung_share": "share of the lesions inside our lung mask",
    "lobe_dice": "mean Dice of the five lobes",
    "burden_percent": "burden",
}
_COMPARED = (
    ("covid20_lesion_dice", "lesion Dice", _SHARE),
    ("covid20_lesion_dice_worst", "worst", _SHARE),
    ("covid20_lesion_dice_no_context", "without neighbours", _SHARE),
    ("lctsc_burden_percent", "burden of controls", _PERCENT),
    ("lctsc_burden_percent_no_context", "without neighbours", _PERCENT),
    ("medseg_ggo_dice", "medseg GGO", _SHARE),
    ("medseg_high_opacity_dice", "medseg high opacity", _SHARE),
)
_CASE_PERCENT = ("burden_percent", "true_burden_percent", "true_lesion_aerated_percent")

Document = Mapping[str, Any]


def evaluations_section(documents: Sequence[Document]) -> str:
    """What ``lungsentry evaluate`` found, a set after the other, with the command and every case."""
    lines = ["", "## Figures by `lungsentry evaluate`"]
    for document in sorted(documents, key=lambda one: list(_HEADINGS).index(one["set"])):
        lines += ["", *_evaluation(document)]
    return "\n".join(lines) + "\n"


def comparison_section(cross_validations: Sequence[Document]) -> str:
    """The recipes that were cross-validated on the same folds, side by side."""
    if not cross_validations:
        return ""
    lines = [
        "",
        "## Networks and recipes on the same folds",
        "Each case by the fold that did not see it, at 256x256 inside the manual lung mask; burden in percent.",
        "",
        f"| recipe | parameters | folds | {' | '.join(title for _, title, _ in _COMPARED)} |",
        "|---|---|---|" + "---|" * len(_COMPARED),
    ]
    for content in cross_validations:
        runs, means = content["runs"], content["mean"]
        figures = " | ".join(_number(means.get(key), form) for key, _, form in _COMPARED)
        folds = ", ".join(str(run["fold"]) for run in runs)
        lines.append(f"| {content['model']} | {runs[0]['parameters']:,} | {folds} | {figures} |")
    return "\n".join(lines) + "\n"


def anatomy_section(lungs: Document, lobes: Document, places: Document) -> str:
    """Lungs and lobes on scans and maps that their networks did not see; each as its own cross-validation left it.

    ``places`` is how much of a lung that was painted opaque is found where it belongs.
    """
    lines: list[str] = []
    for key, value in lungs.items():
        if isinstance(value, Mapping) and {"mean", "worst"} <= set(value):
            source, _, figure = key.partition("_")
            title = {"dice": "lung Dice", "lesion_inside": "share of the lesions inside the lungs"}.get(figure, figure)
            told = f"mean {value['mean']:{_SHARE}}, worst {value['worst']:{_SHARE}} of {value['scans']} scans"
            lines.append(f"- {source}, {title}: {told}.")
    if lobes.get("mean_dice") is not None:
        by_lobe = ", ".join(f"{lobe} {dice:{_SHARE}}" for lobe, dice in lobes["mean_dice_by_lobe"].items())
        lines.append(f"- Lobes of {lobes['maps']} maps: mean Dice {lobes['mean_dice']:{_SHARE}} ({by_lobe}).")
    for part, told in places.get("painted", {}).items():
        lines.append(
            f"- A lung painted opaque ({part}, {told['cases']} lungs of scans that were not learnt from): "
            f"{told['found_share']:{_SHARE}} of it is found where it belongs, the burden told within a fifth in "
            f"{told['within_a_fifth']}, {told['worst_error_percent']:.1f} % off at most."
        )
    if plain := places.get("as_they_come"):
        lines.append(f"- Of {plain['scans']} scans as they come {plain['gaining']} gain lung that way.")
    if not lines:
        return ""
    head = [
        "",
        "## Lungs and lobes",
        "By networks of their own, cross-validated by patient (`analysis/weights/*/evaluation.json`).",
    ]
    return "\n".join([*head, *lines]) + "\n"


def lesion_threshold_section(document: Document) -> str:
    """How the probability from which a pixel is lesion was chosen; nothing where no choice was written down."""
    if not document:
        return ""
    patients = sum(case["lesion_dice"] is not None for case in document["cases"])
    controls = len(document["cases"]) - patients
    told = (
        f"Chosen over {patients} patients and {controls} controls, each judged by the run that held it out "
        f"(`python -m analysis.training.thresholds`): **{document['threshold']:g}**, the lowest whose mean Dice is the "
        "best or hardly less. Each fold at the threshold that "
        f"the other folds choose: lesion Dice {_number(document['nested_lesion_dice'], _SHARE)}. "
        "It is chest CT's; on CTAC, where the network is less certain, a lower one is judged by `--set ctac`."
    )
    lines = [
        "",
        "## Lesion threshold",
        told,
        "",
        "| threshold | lesion Dice | worst | burden bias, points | burden R² | burden of controls, % |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['threshold']:g} | {row['lesion_dice']:{_SHARE}} | {row['lesion_dice_worst']:{_SHARE}} | "
        f"{row['burden_bias_points']:+{_PERCENT}} | {_number(row['burden_r2'], _SHARE)} | "
        f"{_number(row['control_burden_percent'], _PERCENT)} |"
        for row in document["grid"]
    ]
    return "\n".join(lines) + "\n"


def thresholds_section(documents: Sequence[Document]) -> str:
    """The operating threshold of each profile, and how it was chosen; says so where none was."""
    lines = ["", "## Operating threshold for alerts"]
    for profile in ("chest_ct", "ctac"):
        points = [
            (document, document["statistics"]["operating_point"])
            for document in documents
            if document["profile"] == profile and document["statistics"].get("operating_point")
        ]
        if not points:
            lines.append(f"- **{profile}:** none was chosen: no evaluation of patients with controls beside them.")
        for document, point in points:
            seen = "cross-validated" if document["cross_validated"] else "**by a model that may have seen the cases**"
            lines.append(
                f"- **{profile}: burden {point['threshold_burden_percent']:{_PERCENT}} %** ({document['set']}, {seen}),"
                f" as {point['chosen_as']}. There: sensitivity {point['sensitivity_percent']:{_PERCENT}} %, "
                f"specificity {point['specificity_percent']:{_PERCENT}} %.{_at_alert_threshold(document)}"
            )
    lines.append(
        "- So few patients and controls do not settle a threshold: it is where a site's own validation begins. "
        "The node's threshold stands in its settings (`policy.chest_ct.burden_percent`, `policy.ctac.burden_percent`), "
        "beside a least volume in mL, which sets of unknown spacing cannot choose."
    )
    return "\n".join(lines) + "\n"


def _evaluation(document: Document) -> Iterator[str]:
    name = str(document["set"])
    kind = "--cross-validated FOLDS" if document["cross_validated"] else "--model MODEL"
    yield f"### {_HEADINGS[name]}"
    yield f"`lungsentry evaluate --data DATA --set {name} {kind} --json {name}.json`, {len(document['cases'])} cases."
    if measured := document.get("model_details", {}).get("version"):
        yield f"Measured with {document['model']} {measured}."
    yield from (f"**{text}**" for text in document.get("cautions", []))
    if document["failed"]:
        yield f"Not evaluated: {', '.join(one['case'] for one in document['failed'])}."
    yield ""
    yield from _distributions(document)
    yield from _statistics(document["statistics"], document["mean"])
    yield from _cases(document)


def _distributions(document: Document) -> Iterator[str]:
    found = {key: value for key, value in document["statistics"]["distribution"].items() if value}
    if not found:
        return
    yield "| | mean | 95 % interval | median | lowest | highest | cases |"
    yield "|---|---|---|---|---|---|---|"
    for key, value in found.items():
        form = _PERCENT if key.endswith("_percent") else _SHARE
        low, high = value["mean_ci95"] or (None, None)
        interval = "-" if low is None else f"{low:{form}} to {high:{form}}"
        middle = " | ".join(_number(value[part], form) for part in ("median", "lowest", "highest"))
        yield f"| {_title(key)} | {_number(value['mean'], form)} | {interval} | {middle} | {value['cases']} |"
    yield ""
    if pooled := document.get("pooled"):
        shown = ", ".join(f"{_title(key)} {_number(value, _SHARE)}" for key, value in pooled.items())
        yield f"Pooled over all pixels: {shown}."
        yield ""


def _statistics(found: Mapping[str, Any], means: Mapping[str, float]) -> Iterator[str]:
    lines: list[str] = []
    if agreement := found.get("burden_agreement_percent"):
        low, high = agreement["limits_of_agreement"]
        lines.append(
            f"- Burden against truth: Pearson R² {_number(agreement['pearson_r2'], _SHARE)}, Spearman "
            f"{_number(agreement['spearman_rho'], _SHARE)}, bias {agreement['bias']:{_PERCENT}} percentage points "
            f"(limits of agreement {low:{_PERCENT}} to {high:{_PERCENT}}), mean absolute error "
            f"{agreement['mean_absolute_error']:{_PERCENT}}."
        )
    if dense := found.get("burden_dense_agreement_percent"):
        lines.append(
            f"- The same with what is as aerated as the rest of the lungs left out of both: Pearson R² "
            f"{_number(dense['pearson_r2'], _SHARE)}, bias {dense['bias']:{_PERCENT}} percentage points, lesion Dice "
            f"{_number(means.get('lesion_dice_dense'), _SHARE)}."
        )
    if false := found.get("false_positive_burden_percent"):
        lines.append(
            f"- False burden of {false['cases']} controls: mean {false['mean']:{_PERCENT}} %, highest "
            f"{false['highest']:{_PERCENT}} %."
        )
    if against := found.get("patients_against_controls"):
        low, high = against["auroc_ci95"] or (None, None)
        interval = "" if low is None else f" (95 % interval {low:{_SHARE}} to {high:{_SHARE}})"
        lines.append(
            f"- {against['patients']} patients against {against['controls']} controls by burden: AUROC "
            f"{against['auroc']:{_SHARE}}{interval}."
        )
    yield from lines
    if lines:
        yield ""


def _cases(document: Document) -> Iterator[str]:
    """Every case (medseg and lobes are told by their distribution alone)."""
    name = document["set"]
    if name in {"medseg", "lobes"}:
        return
    if name == "dicom":
        yield "| series | burden | quality | slice AUROC | lobes flagged | lobes labelled | not analysed because |"
        yield "|---|---|---|---|---|---|---|"
        for case in document["cases"]:
            lobes = " | ".join(", ".join(case.get(key) or ()) or "-" for key in ("lobes_flagged", "lobes_labelled"))
            figures = f"{_number(case.get('burden_percent'), _PERCENT)} | {case.get('quality', '-')}"
            auroc = _number(case.get("slice_auroc"), _SHARE)
            yield f"| {case['case']} | {figures} | {auroc} | {lobes} | {case.get('reason') or '-'} |"
        return
    yield "| case | lesion Dice | lung Dice | burden | true burden | of the labelled lesion as aerated as the rest |"
    yield "|---|---|---|---|---|---|"
    for case in (*document["cases"], *document.get("controls", [])):
        dice = " | ".join(_number(case.get(key), _SHARE) for key in ("lesion_dice", "lung_dice"))
        burdens = " | ".join(_number(case.get(key), _PERCENT) for key in _CASE_PERCENT)
        yield f"| {case['case']} | {dice} | {burdens} |"


def _at_alert_threshold(document: Document) -> str:
    found = document["statistics"].get("at_alert_threshold")
    if not found:
        return ""
    return (
        f" At that of the settings which it was measured with, {found['threshold_burden_percent']:{_PERCENT}} %: "
        f"sensitivity {_number(found['sensitivity_percent'], _PERCENT)} %, specificity "
        f"{_number(found['specificity_percent'], _PERCENT)} %."
    )


def _title(key: str) -> str:
    return _FIGURES.get(key) or key.replace("_percent", " %").replace("_", " ").replace("dice", "Dice")


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"

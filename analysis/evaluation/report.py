"""One HTML file that tells an evaluation: tables, plots, the worst cases as pictures. It loads nothing else."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from analysis.evaluation.cases import EvaluationSet
from analysis.evaluation.document import MAIN_FIGURES
from analysis.evaluation.overlays import LEGENDS
from analysis.evaluation.plots import plots
from analysis.evaluation.results import Picture

_WORST = 12
_LEGEND_OF = {
    EvaluationSet.MEDSEG: "slice",
    EvaluationSet.LOBES: "lobes",
    EvaluationSet.DICOM: "series",
    EvaluationSet.SARS: "slice",
}
_LISTS = ("_counts", "_of_each")
_SMALL = 0.0005  # would be shown as 0.000

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
 :root { color-scheme: light; }
 body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; background: #fff;
        margin: 0 auto; padding: 24px; max-width: 1180px; }
 h1 { font-size: 25px; margin: 0; } h2 { font-size: 18px; margin: 34px 0 8px; border-bottom: 1px solid #d8dde5; }
 .notice { background: #fff4e0; border-left: 4px solid #d9730d; padding: 6px 12px; margin: 14px 0; }
 .failed { background: #fdeaea; border-left: 4px solid #b3261e; padding: 6px 12px; margin: 14px 0; }
 .cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
 .card { border: 1px solid #d8dde5; border-radius: 8px; padding: 8px 16px; }
 .card b { display: block; font-size: 22px; }
 .wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; margin: 8px 0; }
 th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid #eceff3; white-space: nowrap; }
 th { background: #f5f7fa; } th:first-child, td:first-child { text-align: left; }
 figure { margin: 10px 0; } figcaption { font-size: 13px; color: #4b5563; }
 img { max-width: 100%; height: auto; }
 .gallery { display: grid; gap: 16px;
            grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); }
 code { font-size: 12px; overflow-wrap: anywhere; } .faint { color: #4b5563; font-size: 13px; }
</style></head><body>
$body
</body></html>
""")


def write_report(folder: Path, document: Mapping[str, Any], pictures: Sequence[Picture]) -> Path:
    """Write ``SET.html`` into the folder, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{document['set']}.html"
    path.write_text(render(document, pictures), encoding="utf-8")
    return path


def render(document: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The report of an evaluation's document; of the pictures the worst are shown."""
    title = f"Evaluation of {document['model']} on {document['set']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _model(document),
        f'<p class="notice"><b>{escape(document["notice"])}</b></p>',
        *(f'<p class="notice">{escape(text)}</p>' for text in document.get("cautions", [])),
        _failed(document["failed"]),
        _cards(document),
        "<h2>Cases</h2>",
        _case_table(document["cases"], document["mean"]),
    ]
    if controls := document.get("controls"):
        parts += ["<h2>Controls</h2>", _case_table(controls, document["controls_mean"])]
    if comparison := document.get("comparison"):
        parts += [f"<h2>Against {escape(str(comparison['against']))}</h2>", *_comparison(comparison)]
    parts += ["<h2>Statistics</h2>", *_statistics(document["statistics"])]
    parts += ["<h2>Plots</h2>", *(_figure(plot.png, plot.caption) for plot in plots(document))]
    parts += _gallery(document, pictures)
    if document["assumptions"]:
        parts.append(
            "<h2>What this rests on</h2>" + "".join(f"<p>{escape(one)}</p>" for one in document["assumptions"])
        )
    return _PAGE.substitute(title=escape(title), body="\n".join(part for part in parts if part))


def _model(document: Mapping[str, Any]) -> str:
    details = document["model_details"]
    by_fold = details if all(isinstance(value, Mapping) for value in details.values()) else {"": details}
    lines = [
        f"{fold} {escape(' '.join(str(one.get(key, '')) for key in ('name', 'version')))}, "
        f"SHA-256 <code>{escape(str(one.get('sha256', '-')))}</code>"
        for fold, one in by_fold.items()
    ]
    kind = "cross-validated: each case by the fold that did not see it" if document["cross_validated"] else "one model"
    told = f"{kind}; profile {document['profile'] or 'as each series tells'}; Lungsentry {document['software_version']}"
    return f'<p class="faint">{"<br>".join([escape(told), *lines])}</p>'


def _failed(failed: Sequence[Mapping[str, str]]) -> str:
    if not failed:
        return ""
    items = "".join(f"<li>{escape(one['case'])}: {escape(one['reason'])}</li>" for one in failed)
    return f'<div class="failed"><b>{len(failed)} not evaluated</b><ul>{items}</ul></div>'


def _cards(document: Mapping[str, Any]) -> str:
    means, shown = document["mean"], list[tuple[str, object]]()
    for key in MAIN_FIGURES[EvaluationSet(document["set"])]:
        if key in means:
            shown.append((f"mean {_title(key)}", _number(key, means[key])))
    shown += [(f"pooled {_title(key)}", _number(key, value)) for key, value in document.get("pooled", {}).items()]
    found = document["statistics"]
    if agreement := found.get("burden_agreement_percent"):
        shown.append(("burden, Pearson R²", _number("r2", agreement["pearson_r2"])))
    if controls := found.get("false_positive_burden_percent"):
        shown.append(("mean false burden of controls", _number("burden_percent", controls["mean"])))
    if images := found.get("images_with_covid_against_others"):
        shown.append(("AUROC of the area of opacity, image by image", _number("auroc", images["auroc"])))
    if against := found.get("patients_against_controls"):
        shown.append(("AUROC, patients against controls", _number("auroc", against["auroc"])))
    shown.append(("cases", len(document["cases"])))
    return (
        '<div class="cards">' + "".join(f'<div class="card"><b>{v}</b>{escape(k)}</div>' for k, v in shown) + "</div>"
    )


def _case_table(cases: Sequence[Mapping[str, Any]], means: Mapping[str, Any]) -> str:
    keys = [key for key in dict.fromkeys(key for case in cases for key in case) if not key.endswith(_LISTS)]
    keys = [key for key in keys if key != "case" and not any(isinstance(case.get(key), Mapping) for case in cases)]
    rows = [[case["case"], *(_number(key, case.get(key)) for key in keys)] for case in cases]
    rows.append(["mean", *(_number(key, means.get(key)) for key in keys)])
    return _table(["case", *(_title(key) for key in keys)], rows)


def _statistics(found: Mapping[str, Any]) -> Iterable[str]:
    distributions = {key: value for key, value in found["distribution"].items() if value}
    if distributions:
        heads = list(next(iter(distributions.values())))
        rows = [[_title(key), *(_number("", value[head]) for head in heads)] for key, value in distributions.items()]
        yield _table(["over cases", *(_title(head) for head in heads)], rows)
    for name, value in found.items():
        if name != "distribution" and value:
            rows = [[_title(key), _number(key, figure)] for key, figure in value.items()]
            yield _table([_title(name), ""], rows)


def _comparison(comparison: Mapping[str, Any]) -> Iterable[str]:
    figures = comparison["figures"]
    heads = list(next(iter(figures.values()))) if figures else []
    rows = [[_title(key), *(_number("", value[head]) for head in heads)] for key, value in figures.items()]
    yield _table(["", *(_title(head) for head in heads)], rows)
    if calls := comparison.get("calls"):
        yield _table(["calls", ""], [[_title(key), _number(key, value)] for key, value in calls.items()])
    keys = list(figures)
    rows = [
        [case["case"], *(_number("", case.get(key, {}).get(side)) for key in keys for side in ("here", "there"))]
        for case in comparison["cases"]
    ]
    yield _table(["case", *(f"{_title(key)}, {side}" for key in keys for side in ("here", "there"))], rows)


def _gallery(document: Mapping[str, Any], pictures: Sequence[Picture]) -> list[str]:
    worst = sorted(pictures, key=lambda picture: -picture.badness)[:_WORST]
    if not worst:
        return []
    legend = LEGENDS[_LEGEND_OF.get(EvaluationSet(document["set"]), "scan")]
    shown = "".join(_figure(picture.png, picture.caption) for picture in worst)
    return ["<h2>Worst cases</h2>", f'<p class="faint">{escape(legend)}</p>', f'<div class="gallery">{shown}</div>']


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _title(key: str) -> str:
    return key.replace("_percent", " %").replace("_ml", " mL").replace("_", " ").replace("dice", "Dice")


def _number(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(_number(key, item) for item in value) or "-"
    if isinstance(value, float):
        if key.endswith("_percent"):
            return f"{value:.2f}"
        return f"{value:.1e}" if 0 < abs(value) < _SMALL else f"{value:.3f}"
    return str(value)

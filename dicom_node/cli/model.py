"""``model``: the models of the node. Which there are, what each is, whether it can be trusted, and which is in use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import UsageError
from dicom_node.cli.invocation import Invocation, is_sqlite, sqlite_file
from dicom_node.cli.manual import RESEARCH_USE, ExitCode, epilog
from dicom_node.cli.model_text import document, print_checks, print_list, print_model
from dicom_node.cli.options import Json, this_user
from dicom_node.cli.output import print_json, print_note, say
from dicom_node.cli.predictive import predictive_document, print_predictive
from dicom_node.cli.trail import record

if TYPE_CHECKING:
    from analysis.findings import Profile
    from analysis.model.registry import InstalledModel, Registry
    from db import ModelAssignment, StoredEvent, StoredShadowResult, VerdictCount

app = typer.Typer(
    no_args_is_help=True,
    help="Models: several side by side, one active by profile, one in shadow; workers follow with their next job.",
)

_NOTHING = "none"


class _Profiles(StrEnum):
    """The profiles a model can be put in use for."""

    CHEST_CT = "chest_ct"
    CTAC = "ctac"
    BOTH = "both"


_Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="NAME@VERSION, a name or version that only one model has, or 'shipped': the package's own.",
    ),
]
_For = Annotated[_Profiles, typer.Option("--profile", help="For which examinations.")]
_Who = Annotated[str | None, typer.Option("--who", help="Who decides; without it, the user that is logged in.")]
_NO_SUCH = {ExitCode.FAILED: "there is no such model"}
_REFUSED = {ExitCode.FAILED: "it is not what its manifest names, cannot run, or is there already"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What the database knows of models; nothing where there is no database yet."""

    assignments: tuple[ModelAssignment, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    shadows: tuple[StoredShadowResult, ...] = ()
    verdicts: tuple[VerdictCount, ...] = ()


@app.command("list", epilog=epilog("lungsentry models list", "lungsentry models list --json"))
def list_(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the models that are installed, and for which profile each is active or in shadow."""
    listing = _registry(ctx).list()
    use = _use(ctx)
    for folder, why in listing.unreadable:
        print_note(f"{folder}: {why}")
    missing = {one.reference for one in use.assignments} - {one.reference for one in listing.models}
    for reference in sorted(missing):
        print_note(f"{reference} is in use and not installed here: jobs that need it fail")
    if as_json:
        print_json({"models": [document(one, use.assignments) for one in listing.models], "missing": sorted(missing)})
    else:
        print_list(listing.models, use.assignments)


@app.command(epilog=epilog("lungsentry models show shipped", "lungsentry models show 0.2.0 --json", codes=_NO_SUCH))
def show(ctx: typer.Context, model: _Model, *, as_json: Json = False) -> None:
    """Show one model: its card's facts, terms, SHA-256, thresholds, what readers say of it and was done with it."""
    found = _registry(ctx).find(model)
    use = _use(ctx, found.reference)
    if as_json:
        told = document(found, use.assignments)
        judged = predictive_document(use.verdicts)
        print_json({**told, "events": use.events, "shadow_results": use.shadows, "predictive_value": judged})
    else:
        print_model(found, use.assignments, use.events, use.shadows)
        print_predictive(use.verdicts)


@app.command(
    epilog=epilog(
        "lungsentry models verify",
        "lungsentry models verify 0.2.0 --json",
        "lungsentry models verify ./trained/model",
        codes={ExitCode.OK: "every model is what it says", ExitCode.FAILED: "at least one is not, and why"},
    )
)
def verify(
    ctx: typer.Context,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL|DIR]...", help="Models, or model folders; none means all.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Compute the SHA-256 anew, load the weights strictly, and segment a phantom with them."""
    registry = _registry(ctx)
    if models:
        checks = [_checked(registry, one) for one in models]
    else:
        listing = registry.list()
        checks = [_checked(registry, one.reference) for one in listing.models]
        checks += [_failed(folder.name, why) for folder, why in listing.unreadable]
    if as_json:
        print_json({"ok": all(one["ok"] for one in checks), "models": checks})
    else:
        print_checks(checks)
    if not all(one["ok"] for one in checks):
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=epilog("lungsentry models install ./trained/model", codes=_REFUSED))
def install(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder, as `lungsentry train` makes it.")],
    *,
    who: _Who = None,
) -> None:
    """Copy a model folder beside the others, once it is verified. It is not used before it is activated.

    Whether it sees a phantom's opacity is said when it is put to use, and by `verify`.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    with Invocation.of(ctx).store() as store:
        model = _registry(ctx).install(folder)
        manifest = model.manifest
        if not model.packaged:
            store.models.record_installed(manifest.name, manifest.version, manifest.sha256, who or this_user())
        record(store, "model installed", model.reference, who=who)
    say(f"{model.reference} is installed, SHA-256 {manifest.sha256}")
    say(f"`lungsentry models shadow {model.reference}` tries it beside the active one, `activate` puts it in use.")


@app.command(epilog=epilog("lungsentry models export 0.2.0 ./for-the-other-site", codes=_REFUSED))
def export(
    ctx: typer.Context,
    model: _Model,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder NAME@VERSION is made in it.")],
) -> None:
    """Copy a model, verified, with its card and figures, to where another node installs it from."""
    registry = _registry(ctx)
    written = registry.export(registry.find(model), out)
    say(f"{written}: `lungsentry models install` takes it")


@app.command(epilog=epilog("lungsentry models activate 0.2.0 --profile ctac", codes=_REFUSED))
def activate(ctx: typer.Context, model: _Model, *, profile: _For = _Profiles.BOTH, who: _Who = None) -> None:
    """Make a model the active one: its result is the result, from every worker's next job on.

    The choice is held in the database, so that all machines of the node follow it at once and an event says who made
    it. `shipped` returns to the model that comes with the software, whatever its version.
    """
    from db import ModelRole

    found = _registry(ctx).find(model)
    _judge_phantom(found)
    manifest, decided = found.manifest, who or this_user()
    with Invocation.of(ctx).store() as store:
        for one in _profiles(profile):
            record(store, "model activated", found.reference, f"for {one.value}", who=who)
            if found.shipped:
                store.models.release(one, ModelRole.ACTIVE, decided)
            else:
                store.models.assign(
                    one,
                    ModelRole.ACTIVE,
                    name=manifest.name,
                    version=manifest.version,
                    sha256=manifest.sha256,
                    who=decided,
                )
            in_shadow = store.models.assigned(one, ModelRole.SHADOW)
            if in_shadow is not None and in_shadow.reference == found.reference:
                store.models.release(one, ModelRole.SHADOW, decided)
            say(f"{found.reference} is active for {one.value}")
    say(f"Older results stay as they are: `lungsentry requeue --not-model-version {found.reference}` renews them.")


@app.command(
    epilog=epilog(
        "lungsentry models shadow 0.2.0 --profile ctac", f"lungsentry models shadow {_NOTHING}", codes=_REFUSED
    )
)
def shadow(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"As for `activate`, or '{_NOTHING}' to stop.")],
    *,
    profile: _For = _Profiles.BOTH,
    who: _Who = None,
) -> None:
    """Run a model in shadow: after each result, it analyses the series too. It never alerts and changes nothing.

    What it finds is kept beside the result (`series show`, `model show`) and logged. A job takes about twice as long.
    """
    from db import ModelRole

    decided = who or this_user()
    if model == _NOTHING:
        with Invocation.of(ctx).store() as store:
            for one in _profiles(profile):
                record(store, "shadow ended", detail=f"for {one.value}", who=who)
                ended = store.models.release(one, ModelRole.SHADOW, decided)
                say(f"{'no model runs' if ended else 'no model ran'} in shadow for {one.value}")
        return
    found = _registry(ctx).find(model)
    _judge_phantom(found)
    manifest = found.manifest
    with Invocation.of(ctx).store() as store:
        active = {one.profile: one.reference for one in store.models.assignments() if one.role is ModelRole.ACTIVE}
        shipped = _registry(ctx).find("shipped").reference
        for one in _profiles(profile):
            if active.get(one, shipped) == found.reference:
                raise UsageError(f"{found.reference} is active for {one.value}: in shadow it would find the same")
        for one in _profiles(profile):
            record(store, "model in shadow", found.reference, f"for {one.value}", who=who)
            store.models.assign(
                one, ModelRole.SHADOW, name=manifest.name, version=manifest.version, sha256=manifest.sha256, who=decided
            )
            say(f"{found.reference} runs in shadow for {one.value}. {RESEARCH_USE}")


def _judge_phantom(model: InstalledModel) -> None:
    """Verify the model, and say where it does not see a phantom's opacity; whether it is good its evaluation tells.

    Raises:
        UntrustedWeights: it is not what its manifest names.
    """
    from analysis.model.self_check import self_check

    if doubt := self_check(model.directory).doubt:
        print_note(f"{model.reference} {doubt}: see that its evaluation explains it before its results count")


def _registry(ctx: typer.Context) -> Registry:
    from analysis.model.registry import Registry

    return Registry(directory=Invocation.of(ctx).settings().models_dir)


def _use(ctx: typer.Context, reference: str | None = None) -> _Use:
    """What is in use, and of one model its history; a scientist without a node has neither."""
    invocation = Invocation.of(ctx)
    settings = invocation.settings()
    if is_sqlite(settings) and not sqlite_file(settings).exists():
        return _Use()
    with invocation.store() as store:
        assignments = store.models.assignments()
        if reference is None:
            return _Use(assignments=assignments)
        return _Use(
            assignments=assignments,
            events=store.models.events(reference),
            shadows=store.models.shadows(reference=reference),
            verdicts=tuple(
                one for one in store.feedback.counts() if f"{one.model_name}@{one.model_version}" == reference
            ),
        )


def _profiles(chosen: _Profiles) -> tuple[Profile, ...]:
    from analysis.findings import Profile

    return tuple(Profile) if chosen is _Profiles.BOTH else (Profile(chosen.value),)


def _checked(registry: Registry, wanted: str) -> dict[str, object]:
    """What became of the check of a model or a folder."""
    from analysis.errors import UntrustedWeights
    from analysis.model.self_check import self_check

    try:
        folder = Path(wanted) if Path(wanted).is_dir() else registry.find(wanted).directory
        check = self_check(folder)
    except UntrustedWeights as error:
        return _failed(wanted, str(error))
    return {
        "model": wanted,
        "ok": check.sees_opacity,
        "why": check.doubt,
        "sha256": check.manifest.sha256,
        "phantom_opacity_percent": check.opacity_percent,
        "phantom_true_opacity_percent": check.true_opacity_percent,
    }


def _failed(name: str, why: str) -> dict[str, object]:
    return {"model": name, "ok": False, "why": why}

"""``python -m tests.image``: build the image's file system in a chroot, start the node in it, and ask its health.

Needs root, debootstrap, and the network that pip and debootstrap need. The stages' base, a slim Python image, is stood
for by Debian's own Python of the same version. Takes some minutes, and as much disk as the image twice.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.image.dockerfile import Copy, Run, Stage, stages_of

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OF_THE_MACHINE = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches its package registry; an image has none of it."""
_PACKAGES = "python3,python3-venv,ca-certificates"
_PATIENCE_S = 300


def main() -> int:
    """Build and start; 0 where the node in the image answers that it is ready, and wrote nowhere else."""
    if os.geteuid() or shutil.which("debootstrap") is None:
        print("needs root and debootstrap", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        base = Path(folder) / "base"
        _said("debootstrap", ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(base)])
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for file in OF_THE_MACHINE:
            if Path("/", file).exists():
                (base / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path("/", file), base / file)
        built: dict[str, Path] = {}
        for number, stage in enumerate(stages_of(DOCKERFILE)):
            image = Path(folder) / f"stage-{number}"
            subprocess.run(["cp", "--archive", str(base), str(image)], check=True)
            _build(stage, image, built)
            built[stage.name] = image
        return _try(stage, image)


def _build(stage: Stage, image: Path, built: dict[str, Path]) -> None:
    for step in stage.steps:
        if isinstance(step, Run):
            _said(step.command, _inside(image, stage, ["sh", "-c", step.command], folder=step.folder))
        else:
            _copy(step, image, ROOT if step.stage is None else built[step.stage])


def _copy(step: Copy, image: Path, source: Path) -> None:
    target = image / Path(step.folder, step.target).relative_to("/")
    if source == ROOT:  # what the engine would be sent: what git keeps, less what .dockerignore names
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
        kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        names = [one for one in listed.stdout.splitlines() if any(one == k or one.startswith(f"{k}/") for k in kept)]
        if step.sources != (".",):
            names = [one for one in names if one in step.sources]
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
        return
    (only,) = step.sources
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", str(source / only.lstrip("/")), str(target)], check=True)


def _inside(image: Path, stage: Stage, words: Sequence[str], *, folder: str, user: str = "0:0") -> list[str]:
    variables = {"PATH": PATH, **{name: value for name, value in os.environ.items() if name.startswith("PIP_")}}
    variables |= {name: value.replace("$PATH", PATH) for name, value in stage.environment.items()}
    (image / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    own = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={image}/proc"]
    return [
        *own,
        *("env", "--ignore-environment", *(f"{name}={value}" for name, value in variables.items())),
        *("/usr/sbin/chroot", f"--userspec={user}", str(image)),
        *("env", f"--chdir={folder}", *words),
    ]


def _said(what: str, command: Sequence[str]) -> None:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        raise SystemExit(f"failed: {what}")
    print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)


def _try(stage: Stage, image: Path) -> int:
    """Start what the image starts, as its user; its health check answers, and nothing but its volume was written."""
    size_mb = int(subprocess.check_output(["du", "-sm", str(image)], text=True).split()[0])
    print(f"{size_mb} MB in the image, the base with it")
    _said("db upgrade", _inside(image, stage, ["lungsentry", "db", "upgrade"], folder=stage.folder, user=stage.user))
    words = [*stage.entrypoint, *stage.command]
    before = time.time()
    node = subprocess.Popen(_inside(image, stage, words, folder=stage.folder, user=stage.user))
    began = time.monotonic()
    try:
        asked = _inside(image, stage, stage.health, folder=stage.folder, user=stage.user)
        while subprocess.run(asked, capture_output=True, check=False).returncode:
            if node.poll() is not None or time.monotonic() - began > _PATIENCE_S:
                print(f"{' '.join(words)} does not become ready", file=sys.stderr)
                return 1
        print(f"{time.monotonic() - began:6.0f} s  until {' '.join(words)} is ready as {stage.user}")
    finally:
        (child,) = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)  # it is process 1 in there, as in a container
        print(f"SIGTERM ends it with {node.wait(90)}")
    volume = image / stage.folder.lstrip("/")
    written = [
        path.relative_to(image)
        for path in image.rglob("*")
        if path.is_file() and path.stat().st_mtime > before and not {volume, image / "tmp"} & {*path.parents}
    ]
    print(f"written outside {stage.folder}: {', '.join(map(str, written)) or 'nothing'}")
    return 1 if written else 0


if __name__ == "__main__":
    raise SystemExit(main())

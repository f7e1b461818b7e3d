"""Whatever the machine's umask, what the node writes is not for everybody."""

import os
import subprocess
import sys
from pathlib import Path


def test_no_file_is_readable_by_all(tmp_path: Path) -> None:
    """Started where everything may be read and written by all, commands leave nothing that others can read."""
    command = Path(sys.executable).with_name("lungsentry")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LUNGSENTRY_")}
    environment = clean | {"LUNGSENTRY_NODE__DATA_DIR": str(tmp_path / "data")}
    for words in (
        ["config", "init", "new.toml"],
        ["db", "upgrade"],
        ["peers", "allow", "CT1"],
        ["db", "backup", "copy"],
    ):
        subprocess.run([command, *words], cwd=tmp_path, env=environment, umask=0, check=True, capture_output=True)
    made = [path for path in tmp_path.rglob("*") if path != tmp_path]
    assert {"new.toml", "copy", "data", "lungsentry.sqlite3"} <= {path.name for path in made}
    assert not [(path.name, oct(path.stat().st_mode)) for path in made if path.stat().st_mode & 0o027]

"""Settings come from defaults, a file and the environment; what cannot be used is refused by name."""

import os
import tomllib
from pathlib import Path

import pytest

from dicom_node.settings import SEARCH_PATH, Database, DicomDestination, Settings, SettingsError, document, load, shown


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("LUNGSENTRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _file(tmp_path: Path, text: str, name: str = "given.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_environment_goes_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source wins over the one below it, field by field."""
    monkeypatch.setenv("LUNGSENTRY_RECEIVER__PORT", "104")
    settings = load(_file(tmp_path, '[receiver]\nport = 4242\nhost = "127.0.0.1"\n'))
    assert (settings.receiver.port, settings.receiver.host, settings.receiver.max_associations) == (
        104,
        "127.0.0.1",
        50,
    )


def test_file_named_by_variable_is_read_and_its_absence_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LUNGSENTRY_CONFIG names the file; a file that is named and missing is an error, not a default."""
    monkeypatch.setenv("LUNGSENTRY_CONFIG", str(_file(tmp_path, '[node]\nae_title = "OTHER"\n')))
    assert load().node.ae_title == "OTHER"
    monkeypatch.setenv("LUNGSENTRY_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"gone\.toml.*LUNGSENTRY_CONFIG"):
        load()


def test_file_in_working_folder_is_found(tmp_path: Path) -> None:
    """Without a name, lungsentry.toml beside the caller is read."""
    _file(tmp_path, '[node]\nae_title = "HERE"\n', "lungsentry.toml")
    assert load().node.ae_title == "HERE"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[receiver]\nport = 99999\n", r"receiver\.port = 99999.*less than or equal to 65535"),
        ("[receiver]\nprot = 1\n", r"receiver\.prot.*no such setting; receiver has host, port"),
        ("[reciever]\nport = 1\n", r"reciever.*no such setting; the file has node, database"),
        ('[node]\nae_title = "SEVENTEEN LETTERS"\n', r"node\.ae_title.*at most 16"),
        ("[receiver\n", r"given\.toml is not valid TOML"),
        ('[database]\nurl = "sqlite://"\nurl_file = "x"\n', r"not both"),
        ('[database]\nurl_file = "missing"\n', r"database\.url_file: missing cannot be read"),
    ],
)
def test_refusal_names_field_value_and_what_would_do(tmp_path: Path, text: str, told: str) -> None:
    """A setting that cannot be used is told by its field, its value and the rule."""
    with pytest.raises(SettingsError, match=told):
        load(_file(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LUNGSENTRY_RECIEVER__PORT", "1", "no section 'reciever'"),
        ("LUNGSENTRY_RECEIVER__PROT", "1", r"receiver\.prot"),
        ("LUNGSENTRY_DESTINATIONS", "PACS", "JSON"),
    ],
)
def test_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    """A variable that would be without effect is an error."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        load()


def test_secret_comes_from_file_and_is_never_shown(tmp_path: Path) -> None:
    """The password reaches the URL in force and neither the document, the shown values nor an error."""
    secret = "postgresql+psycopg://node:{}@host/name".format("opensesame")
    (tmp_path / "url").write_text(secret + "\n")
    from_file = load(_file(tmp_path, f'[database]\nurl_file = "{tmp_path / "url"}"\n'))
    assert from_file.database_url == secret
    inline = Settings(database=Database(url=secret))
    assert "opensesame" not in str(shown(inline)) + document(inline) + document(from_file)
    with pytest.raises(SettingsError) as refused:
        load(_file(tmp_path, f'[database]\nurl = "{secret}"\nurl_file = "x"\n'))
    assert "opensesame" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        '[database]\nurl_ = "postgresql+psycopg://u:S3CRET@h/db"\n',
        '[database]\npassword = "S3CRET"\n',
        '[dtabase]\nurl = "postgresql+psycopg://u:S3CRET@h/db"\n',
        'database = "postgresql+psycopg://u:S3CRET@h/db"\n',
        '[database]\nurl = ["postgresql+psycopg://u:S3CRET@h/db"]\n',
        '[database]\nurl = "postgresql+psycopg://u:S3CRET@h/db\n',
        '[[destinations]]\npassword = "S3CRET"\n',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, text: str) -> None:
    """A misspelt field, section or value is named without what stands there."""
    with pytest.raises(SettingsError) as refused:
        load(_file(tmp_path, text))
    assert "S3CRET" not in str(refused.value)


def test_a_password_in_the_query_of_the_url_is_hidden() -> None:
    """Libpq takes user and password as parameters too."""
    settings = Settings(database=Database(url="postgresql+psycopg://h/db?user=u&password=S3CRET&sslmode=require"))
    assert "S3CRET" not in str(shown(settings)) + document(settings)
    assert "h/db" in str(shown(settings))


def test_settings_of_another_owner_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the working folder is used only if it is the caller's or root's, and not for all to write."""
    found = _file(tmp_path, '[node]\nae_title = "HERE"\n', "lungsentry.toml")
    found.chmod(0o666)
    with pytest.raises(SettingsError, match="another user"):
        load()
    found.chmod(0o644)
    assert load().node.ae_title == "HERE"
    if os.geteuid() == 0:
        os.chown(found, 12_345, -1)
    else:
        monkeypatch.setattr("os.geteuid", lambda: found.stat().st_uid + 1)
    with pytest.raises(SettingsError, match="another user"):
        load()


def test_the_machines_settings_stand_above_the_working_folders() -> None:
    """A file that somebody left where the node is started does not go before /etc."""
    assert [path.is_absolute() for path in SEARCH_PATH] == [True, False]


def test_document_holds_every_field_and_loads_as_what_it_shows(tmp_path: Path) -> None:
    """The example file is complete, and reading it gives the settings it was written from."""
    settings = Settings(destinations=(DicomDestination(ae_title="PACS", host="pacs.example.org", port=104),))
    text = document(settings)
    assert load(_file(tmp_path, text)) == settings
    assert load(_file(tmp_path, document())) == Settings()
    for name, info in Settings.model_fields.items():
        for field in getattr(info.annotation, "model_fields", {}):
            assert f"{field} =" in text or f".{field}]" in text, (name, field)
    assert tomllib.loads(text)["receiver"]["port"] == 11112


def test_settings_cannot_be_changed() -> None:
    """Settings are read once: no field can be assigned."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().receiver.port = 1  # type: ignore[misc]

"""Where settings come from: a TOML file, found or named, and variables of the environment above it."""

import os
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as UnparsableVariable

from dicom_node.settings.destinations import Destination
from dicom_node.settings.section import SettingsError
from dicom_node.settings.sections import Policy, Settings

CONFIG_VARIABLE = "LUNGSENTRY_CONFIG"
SEARCH_PATH = (Path("/etc/lungsentry/lungsentry.toml"), Path("lungsentry.toml"))
"""The machine's settings stand above what lies in a folder that somebody works in."""

_WRITABLE_BY_ALL = 0o002
_PREFIX = "LUNGSENTRY_"
_SECRET_FIELDS = frozenset({"database", "database.url"})


def find_file(path: Path | None = None) -> Path | None:
    """The settings file in force: the one given, the one LUNGSENTRY_CONFIG names, else the first of SEARCH_PATH."""
    named = path or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            source = "" if path else f" (named by {CONFIG_VARIABLE})"
            raise SettingsError(f"there is no settings file {named}{source}; `lungsentry config init` writes one")
        return named
    found = next((candidate for candidate in SEARCH_PATH if candidate.is_file()), None)
    if found is not None:
        _refuse_what_others_wrote(found)
    return found


def _refuse_what_others_wrote(file: Path) -> None:
    """Settings that nobody named are taken from root and from who runs this, and only if nobody else may write them."""
    stat = file.stat()
    if stat.st_uid not in {0, os.geteuid()} or stat.st_mode & _WRITABLE_BY_ALL:
        raise SettingsError(
            f"the settings {file.absolute()} belong to another user, or everybody may write them: "
            "name them with --config if they are to be used"
        )


def load(path: Path | None = None) -> Settings:
    """Read the settings: defaults, the file over them, LUNGSENTRY_ variables over both.

    Raises:
        SettingsError: names the field, its value (never a secret) and what would do.
    """
    file = find_file(path)
    _refuse_unknown_sections()
    with _explained(file, f"{file} and {_PREFIX} variables" if file else f"{_PREFIX} variables"):
        settings = Settings.model_validate(_reading(file)().model_dump())
    _ = settings.database_url  # a url_file that cannot be read is told now, not at the first query
    return settings


def changed_policy(present: Policy, file: Path) -> Policy:
    """The policy with what ``[policy]`` of a file says instead; what the file does not name stays as it is.

    Raises:
        SettingsError: names the field, its value and what would do.
    """
    with _explained(file, str(file)):
        changes = tomllib.loads(file.read_text(encoding="utf-8")).get("policy")
        if changes is None:
            raise SettingsError(f"{file} has no [policy] to try")
        return Settings.model_validate({"policy": _over(present.model_dump(), changes)}).policy


def _over(present: Any, changes: Any) -> Any:
    """Tables are gone into; any other value takes the place of the present one."""
    if not (isinstance(present, dict) and isinstance(changes, dict)):
        return changes
    known = cast("dict[str, Any]", present)
    return known | {name: _over(known.get(name), value) for name, value in cast("dict[str, Any]", changes).items()}


@contextmanager
def _explained(file: Path | None, source: str) -> Generator[None]:
    try:
        yield
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from error
    except UnparsableVariable as error:
        raise SettingsError(f"a {_PREFIX} variable cannot be parsed: {error}; lists are written as JSON") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not UTF-8 text") from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(_explain(error, source)) from None  # the cause would hold the secret that is hidden here


def _reading(file: Path | None) -> type[Settings]:
    """Settings whose sources are the environment and the given file."""

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            if file is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    return Sourced


def _refuse_unknown_sections() -> None:
    """A misspelt variable is an error: it would otherwise be silently without effect."""
    for name in os.environ:
        if name.upper().startswith(_PREFIX) and "__" in name:
            section = name[len(_PREFIX) :].split("__", 1)[0].lower()
            if section not in Settings.model_fields:
                sections = ", ".join(Settings.model_fields)
                raise SettingsError(f"{name}: there is no section {section!r}; sections are {sections}")


def _explain(error: ValidationError, source: str) -> str:
    """One line a field: its name, what it was, what would do."""
    lines: list[str] = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":  # it may be a secret under a misspelt name
            lines.append(f"{field}: there is no such setting; {_siblings(field)}")
        else:
            told = field not in _SECRET_FIELDS and isinstance(problem["input"], str | int | float | bool)
            value = f" = {problem['input']!r}" if told else ""
            lines.append(f"{field}{value}: {problem['msg']}")
    return f"the settings ({source}) cannot be used: " + "; ".join(lines)


def _siblings(field: str) -> str:
    section, _, _ = field.rpartition(".")
    if section.startswith("destinations."):
        kinds = {str(kind.model_fields["channel"].default): kind for kind in get_args(Destination)}
        channel = section.rpartition(".")[2]
        return f"{section} has {', '.join(kinds[channel].model_fields)}"
    info = Settings.model_fields.get(section)
    fields = getattr(info.annotation, "model_fields", None) if info else None
    names = ", ".join(fields if fields is not None else Settings.model_fields)
    return f"{section or 'the file'} has {names}"

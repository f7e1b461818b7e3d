"""The conformance statement says what the code negotiates."""

from pathlib import Path

from typer.testing import CliRunner

from dicom_node.cli.app import app
from dicom_node.conformance import statement
from dicom_node.network.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, supported_contexts

FILE = Path(__file__).resolve().parents[2] / "deploy" / "conformance.md"


def test_the_file_is_current() -> None:
    """Write it anew with ``lungsentry conformance > deploy/conformance.md`` when this fails."""
    assert FILE.read_text(encoding="utf-8") == statement()


def test_everything_that_is_negotiated_is_stated() -> None:
    """Each abstract syntax that is accepted, and each transfer syntax, stands in the statement by its UID."""
    text = statement()
    accepted = {str(context.abstract_syntax) for context in supported_contexts(commitment=True)}
    for uid in accepted | set(STORAGE_SOP_CLASSES) | set(TRANSFER_SYNTAXES):
        assert f"`{uid}`" in text, uid


def test_the_command_prints_it() -> None:
    """What the command prints is the statement, to the byte."""
    assert CliRunner().invoke(app, ["conformance"]).stdout == statement()

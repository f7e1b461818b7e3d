"""``conformance``: the DICOM conformance statement of this version."""

import typer

from dicom_node.cli.manual import epilog


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(epilog=epilog("lungsentry conformance > conformance.md"))(conformance)


def conformance() -> None:
    """Print the DICOM conformance statement, in Markdown: what this version negotiates, with its default settings."""
    from dicom_node.conformance import statement

    typer.echo(statement(), nl=False)

"""The command ``lungsentry``: one module a noun, nothing heavy imported until a command needs it."""

from dicom_node.cli.app import app, main

__all__ = ["app", "main"]

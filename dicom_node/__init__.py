"""Dicom node."""

"""Procedural chest CT: anatomy, findings, scanner effects, DICOM writer."""

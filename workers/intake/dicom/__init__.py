"""Reading of single DICOM files: structure, attributes, pixels. Untrusted bytes; every length is checked first."""

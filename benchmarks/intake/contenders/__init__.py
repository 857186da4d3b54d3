"""One module for each way to read a ZIP of DICOM files; each is run as a process of its own."""

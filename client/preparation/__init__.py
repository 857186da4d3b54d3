"""`ctclip prepare`: a folder tree of DICOM files into one ZIP for each study."""

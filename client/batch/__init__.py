"""`ctclip batch`: a folder of studies into one spreadsheet, resumable after any kind of death."""

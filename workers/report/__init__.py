"""The report of one study for people: HTML and PDF, English and Russian, made of the result and what can be seen."""

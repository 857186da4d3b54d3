"""What `make check`, `make audit` and `make sbom` look at beside the code: chart, advisories, contents of images."""

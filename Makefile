# make run    install everything and serve the page
# make test   install everything, a browser included, and run all checks and tests
# make lint   ruff, mypy and pip check only
# make audit  compare the pinned versions with published advisories
# make prove  kill, fill, break and flood real servers for hours, and print what was lost
# make bench  measure the speed; run nothing else meanwhile

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test pytest lint compiled audit prove bench browser clean

run: .venv/run.done
	@$(BIN)/wick serve

test: compiled browser
	@$(MAKE) --no-print-directory -j 2 lint pytest

# Three at a time for two cores: many tests wait, for a timeout or a process.
pytest: compiled browser
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: compiled
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pip check

# Uses an environment of its own and the public package index: mirrors have no advisories.
audit: .venv/dev.done
	@test -d .venv/audit || $(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

compiled: .venv/dev.done
	@$(BIN)/python -m compileall -q app # once, not in every process that a test starts

# PROVE="--only kills --rounds 20": a part, or less of each.
prove: compiled
	$(BIN)/python -m tests.prove $(PROVE)

bench: compiled browser
	$(BIN)/python -m tests.page_bench

browser: .venv/dev.done
	@sh tests/install-browser.sh $(BIN)

.venv/run.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Wick needs Python 3.11 or later: make PYTHON=python3.12")'
	@test -d .venv || $(PYTHON) -m venv .venv
	@echo "Installing what Wick needs into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/python -m compileall -q app # else the first start does it, if it may write there
	@touch $@

.venv/dev.done: .venv/run.done
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .cache test-artefacts

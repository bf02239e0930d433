# make train, make test, make docs, ...: each makes the environment first if it is not there.
PYTHON ?= python3
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin
OLDEST := .venv-oldest

.PHONY: train serve test oldest dicom-checker coverage fuzz lint docs environment clean

train: environment
	$(BIN)/python -m modise_lightning.train $(ARGS)

# The page, with the model of the last make train.
serve: environment
	$(BIN)/python -m modise_lightning.serve checkpoint=$$(ls -t outputs/train/*/checkpoints/best.ckpt | head -n 1) $(ARGS)

# One of the tests builds the documentation as make docs does.
test: environment lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# The tests with the oldest versions that pyproject.toml allows of what it names, in an environment of their own.
oldest: $(OLDEST)/complete
	$(OLDEST)/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

$(OLDEST)/complete: pyproject.toml
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@

# CI has the DICOM results checked by dciodvfy of Debian's dicom3tools, where it may install it; elsewhere that test says that it is skipped.
ifdef CI
test: dicom-checker
endif
dicom-checker:
	@command -v dciodvfy > /dev/null || { apt-get update && apt-get install --yes dicom3tools; } > /dev/null 2>&1 \
		|| echo "dicom3tools is not there and cannot be installed: the test that needs dciodvfy is skipped"

# Lines and branches that the tests run, those of their commands too, by file and by folder. Without the full disk, which
# would be full for coverage's own file.
coverage: environment
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report= \
		--deselect tests/configuration/test_interruption.py::test_a_full_disk_is_one_line_and_leaves_no_half_file $(ARGS)
	$(BIN)/python scripts/coverage_by_room.py

# Mutated files of every kind for the readers; findings go to outputs/fuzzing.
SECONDS ?= 60
SEED ?= 1
fuzz: environment
	PYTHONPATH=tests $(BIN)/python -m fuzzing --seconds $(SECONDS) --seed $(SEED) $(ARGS)

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In site/, which opens without a server or a network; a broken link or an unknown name is an error (not with
# --quiet, which would hide warnings from --strict).
docs: environment
	$(BIN)/mkdocs build --strict

environment: $(ENVIRONMENT)/complete

# Marked complete only after pip succeeded, so that an interrupted installation is repeated.
$(ENVIRONMENT)/complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(ENVIRONMENT) $(OLDEST) dist site

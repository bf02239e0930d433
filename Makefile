# make train, make test, make fuzz: each makes the environment first if it is not there.
PYTHON ?= python3
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin

.PHONY: train test fuzz lint environment clean

train: environment
	$(BIN)/python -m modise_lightning.train $(ARGS)

test: environment lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Mutated files of every kind for the readers; findings go to outputs/fuzzing.
SECONDS ?= 60
SEED ?= 1
fuzz: environment
	PYTHONPATH=tests $(BIN)/python -m fuzzing --seconds $(SECONDS) --seed $(SEED) $(ARGS)

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

environment: $(ENVIRONMENT)/complete

# Marked complete only after pip succeeded, so that an interrupted installation is repeated.
$(ENVIRONMENT)/complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(ENVIRONMENT) dist

# Targets: install demo test test-slow lint bench docs. `make demo` and `make test` need only
# Python 3.11 or newer, make and pip; they set up .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
PLUGINS := $(sort $(wildcard plugins/*) $(wildcard contrib/*))
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard $(addsuffix /pyproject.toml,$(PLUGINS))))
# Other implementations that tests compare with. What backpack asks for would bring a torchvision
# that does not fit the torch of the constraints.
ORACLES := backpack-for-pytorch curvlinops-for-pytorch linear_operator unfoldNd
DEMO_PLUGINS := $(addprefix plugins/dvl-,banzhaf knn loo oob shapley)
# Builds use the pinned hatchling of the environment, not a fresh one per package.
EDITABLE := $(PIP) --no-build-isolation
DECLARATIONS := pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(PLUGINS))

.PHONY: install demo test test-slow lint bench docs constraints clean

install: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: $(DECLARATIONS) | $(VENV)/bin/python
	$(PIP) hatchling editables
	$(EDITABLE) -e . $(addprefix -e ,$(DEMO_PLUGINS))
	touch $@

$(VENV)/.installed: $(DECLARATIONS) | $(VENV)/bin/python
	$(PIP) torch
	$(PIP) hatchling editables
	$(EDITABLE) -e '.[parquet,dev,docs]' $(addprefix -e ,$(PLUGINS))
	$(PIP) --no-deps $(ORACLES)
	touch $@ $(VENV)/.demo-installed

demo: $(VENV)/.demo-installed
	$(BIN)/python docs/examples/demo.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n auto --dist loadfile

test-slow: install
	$(BIN)/pytest -m slow

bench: install
	$(BIN)/python tests/benchmarks/run.py

docs: install
	$(BIN)/python docs/generate/methods.py
	$(BIN)/python docs/generate/scaling.py
	$(BIN)/mkdocs build --strict

# Rewrites the pins from what is installed; torch is pinned by hand, for all environments.
constraints: install
	( echo "torch==2.13.0"; $(BIN)/pip freeze --all --exclude-editable | grep -v -E '^(pip|setuptools|torch)==' ) | LC_ALL=C sort -f > constraints.txt

clean:
	rm -rf $(VENV) .bench site demo-report

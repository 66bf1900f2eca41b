# Every target only calls dien-bench, in an environment that is made when it is missing.
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BENCH := $(VENV)/bin/dien-bench

DATASETS ?= electronics books
PROTOCOL ?= arxiv-v1
VARIANT ?= official
SEEDS ?= 0 1 2 3 4
OUT ?= runs
# A variable with a typing error would be ignored, and a sweep of hours started: those of the command line are checked.
KNOWN := DATASETS PROTOCOL VARIANT MODELS SEEDS STEPS WORKERS OUT DEVICE DEVICES EXECUTOR LOGGER WANDB DRY_RUN \
	RETRY_FAILED AMAZON_MIRROR DATA_MIRROR PYTHON VENV PEERS BENCH
OF_ENVIRONMENT := DIEN_BENCH_% WANDB_% RAY_% CUDA_% OMP_% PIP_% MALLOC_% %_proxy %_PROXY SHELL TMPDIR
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
UNKNOWN := $(firstword $(filter-out $(KNOWN) $(OF_ENVIRONMENT),$(GIVEN)))
ifneq ($(UNKNOWN),)
CLOSE := $(shell $(PYTHON) -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' \
	'$(UNKNOWN)' $(KNOWN))
$(error unknown variable $(UNKNOWN)$(if $(CLOSE), (did you mean $(CLOSE)?)). Known: $(KNOWN))
endif

# Large temporaries are reused instead of being handed back to the system at every step (glibc).
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_TOP_PAD_ ?= 67108864

SWEEP = $(BENCH) run --datasets "$(DATASETS)" --protocol "$(PROTOCOL)" --variant "$(VARIANT)" --seeds "$(SEEDS)" \
	--out "$(OUT)" $(if $(MODELS),--models "$(MODELS)") $(if $(STEPS),--steps $(STEPS)) \
	$(if $(WORKERS),--workers $(WORKERS)) $(if $(DEVICE),--device $(DEVICE)) $(if $(LOGGER),--logger $(LOGGER)) \
	$(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(DEVICES),--devices $(DEVICES)) \
	$(if $(RETRY_FAILED),--retry-failed) $(if $(DRY_RUN),--dry-run) $(if $(filter off,$(WANDB)),--no-wandb)

.PHONY: setup setup-cluster test check reproduce-table1 reproduce-table2 reproduce-table4 leaderboard bench bench-peers \
	gpu-check docs/command-line.md

setup: $(VENV)/ready

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Ray, for EXECUTOR=ray, and its tests.
setup-cluster: setup
	$(VENV)/bin/python -m pip install --quiet -r requirements-cluster.lock

test: setup
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile

reproduce-table1: setup
	$(BENCH) table 1 --datasets "$(DATASETS)" --out "$(OUT)"

reproduce-table2: setup
	$(SWEEP) --table 2

reproduce-table4: setup
	$(SWEEP) --table 4

docs/command-line.md: setup
	$(VENV)/bin/python -m typer benchmark.cli.app utils docs --name dien-bench --title "Command line" --output $@

leaderboard: setup
	$(BENCH) leaderboard build

bench: setup
	$(BENCH) bench --out "$(OUT)"

bench-peers: setup $(PEERS)/ready
	$(BENCH) bench peers --peers-python $(PEERS)/bin/python --out "$(OUT)/peers"

# On a machine with an NVIDIA GPU and torch built for CUDA (docs/speed.md); eight minutes at most.
gpu-check: setup
	$(BENCH) gpu-check --out "$(OUT)"

$(PEERS)/ready: benchmark/bench/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r benchmark/bench/peers/requirements.txt
	touch $@

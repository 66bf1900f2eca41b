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
WANDB ?= on
DRY_RUN ?= off
RETRY_FAILED ?= off
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

# So would be one that the target does not read: DRY_RUN=1 would train.
TAKEN_BY_quickstart := SEEDS STEPS WORKERS OUT
TAKEN_BY_reproduce-table1 := DATASETS OUT
TAKEN_BY_reproduce-table5 := SEEDS STEPS WORKERS OUT MODELS
TAKEN_BY_reproduce-serving := WORKERS OUT
TAKEN_BY_ALL := AMAZON_MIRROR DATA_MIRROR PYTHON VENV PEERS BENCH
GOAL := $(firstword $(foreach goal,$(MAKECMDGOALS),$(if $(TAKEN_BY_$(goal)),$(goal))))
NOT_TAKEN := $(if $(GOAL),$(firstword $(filter-out $(TAKEN_BY_$(GOAL)) $(TAKEN_BY_ALL) $(OF_ENVIRONMENT),$(GIVEN))))
ifneq ($(NOT_TAKEN),)
$(error $(GOAL) does not take $(NOT_TAKEN). It takes: $(TAKEN_BY_$(GOAL)) $(TAKEN_BY_ALL))
endif

# On or off in several spellings, for all of these alike: a DRY_RUN=0 that counted as given would train nothing.
ON_OFF := WANDB DRY_RUN RETRY_FAILED
SWITCH = $(shell case "$$(printf %s '$(subst ','\'',$(1))' | tr A-Z a-z)" in \
	(1|on|yes|true) echo on;; (0|off|no|false|"") echo off;; esac)
READ = $(or $(call SWITCH,$($(1))),$(error $(1)=$($(1)) is neither on nor off. On: 1, on, yes, true. Off: 0, off, no, false, or empty))
$(foreach name,$(ON_OFF),$(eval override $(name) := $(call READ,$(name))))

# Large temporaries are reused instead of being handed back to the system at every step (glibc).
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_TOP_PAD_ ?= 67108864

PYTEST = $(VENV)/bin/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder
SWEEP = $(BENCH) run --datasets "$(DATASETS)" --protocol "$(PROTOCOL)" --variant "$(VARIANT)" --seeds "$(SEEDS)" \
	--out "$(OUT)" $(if $(MODELS),--models "$(MODELS)") $(if $(STEPS),--steps $(STEPS)) \
	$(if $(WORKERS),--workers $(WORKERS)) $(if $(DEVICE),--device $(DEVICE)) $(if $(LOGGER),--logger $(LOGGER)) \
	$(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(DEVICES),--devices $(DEVICES)) \
	$(if $(filter on,$(RETRY_FAILED)),--retry-failed) $(if $(filter on,$(DRY_RUN)),--dry-run) \
	$(if $(filter off,$(WANDB)),--no-wandb)

.PHONY: help quickstart setup setup-cluster test check reproduce-table1 reproduce-table2 reproduce-table3 reproduce-table4 reproduce-table5 \
	reproduce-serving reproduce-rocket leaderboard \
	bench bench-peers gpu-check docs/command-line.md

help:  ## this list
	@sed -nE 's/^([a-z][^:]*):[^#]*## (.*)/\1|\2/p' Makefile | awk -F '|' '{ printf "make %-22s %s\n", $$1, $$2 }'
	@echo
	@echo "Variables of reproduce-table2 and 4, with their values now (dien-bench run --help says what they are); the other targets take some:"
	@echo '  DATASETS="$(DATASETS)" PROTOCOL=$(PROTOCOL) VARIANT=$(VARIANT) MODELS="$(MODELS)" SEEDS="$(SEEDS)" STEPS=$(STEPS)'
	@echo '  WORKERS=$(WORKERS) DEVICE=$(DEVICE) DEVICES=$(DEVICES) EXECUTOR=$(EXECUTOR) OUT=$(OUT) LOGGER=$(LOGGER) WANDB=$(WANDB)'
	@echo '  DRY_RUN=$(DRY_RUN) RETRY_FAILED=$(RETRY_FAILED) AMAZON_MIRROR=$(AMAZON_MIRROR)'
	@echo "$(ON_OFF): 1, on, yes or true; 0, off, no, false or empty."

quickstart: setup  ## about five minutes: real data, three models, two orders of behaviours side by side
	$(BENCH) quickstart --out "$(OUT)/quickstart" $(if $(filter command environment,$(origin SEEDS)),--seeds "$(SEEDS)") \
		$(if $(STEPS),--steps $(STEPS)) $(if $(WORKERS),--workers $(WORKERS))

setup: $(VENV)/ready  ## the environment in .venv, pinned: one to three minutes

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

setup-cluster: setup  ## Ray too, for EXECUTOR=ray, and its tests
	$(VENV)/bin/python -m pip install --quiet -r requirements-cluster.lock

test: setup  ## the tests but for the slow ones: whole commands, clusters, kills, every committed number
	$(PYTEST) -m "not slow"

check: setup  ## lint, types and all tests, as CI runs them
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTEST)

reproduce-table1: setup  ## counts of the data beside the paper's
	$(BENCH) table 1 --datasets "$(DATASETS)" --out "$(OUT)"

reproduce-table2: setup  ## train the rows of Table 2 and print it
	$(SWEEP) --table 2

# What a target has for itself gives way to the environment too, as the variables above do.
# Table 3's data is private: these two logs are public and real; DATASETS=market is simulated and needs nothing.
COMMA := ,
NAMES = $(subst $(COMMA), ,$(DATASETS))
ifneq ($(origin DATASETS),environment)
reproduce-table3: DATASETS = taobao-ad kuairand-pure
reproduce-rocket: DATASETS = market
endif
ifneq ($(origin PROTOCOL),environment)
reproduce-table3: PROTOCOL = next-day
reproduce-rocket: PROTOCOL = $(if $(filter market market-% taobao-ad kuairand-pure,$(NAMES)),next-day,clean)
endif
reproduce-table3: setup  ## train the rows of Table 3 on logs of impressions and print it
	$(SWEEP) --table 3

reproduce-table5: setup  ## the simulated A/B test, of runs of Table 3 that are trained where they are missing
	$(BENCH) abtest --seeds "$(SEEDS)" --out "$(OUT)" $(if $(MODELS),--models "$(MODELS)") $(if $(STEPS),--steps $(STEPS)) \
		$(if $(WORKERS),--workers $(WORKERS))

# Measures on one core and loads from another: nothing else should run meanwhile.
reproduce-serving: setup  ## the ladder of the paper's serving section, on a quiet machine; trains what is missing
	$(BENCH) serving-table --out "$(OUT)" $(if $(WORKERS),--workers $(WORKERS))

reproduce-table4: setup  ## train the rows of Table 4 and print it: DATASETS=tafeng needs no Amazon server
	$(SWEEP) --table 4

docs/command-line.md: setup  ## the page on the command line, from the program
	$(VENV)/bin/python -m typer benchmark.cli.app utils docs --name dien-bench --title "Command line" --output $@

# Rocket Launching: the booster, the light net alone, and the light net that the booster teaches.
HINTS := 0.01 0.03 0.1 0.3 1
ifneq ($(origin MODELS),environment)
reproduce-rocket: MODELS = dien+hidden_size=108 dien+hidden_size=32 $(HINTS:%=dien-rocket+hint_weight=%) \
	dien-rocket+share=false dien-rocket+block=false dien-rocket+block=false+share=false
endif
reproduce-rocket: setup  ## train the rows of Rocket Launching and test them against each other
	$(SWEEP)
	$(if $(filter off,$(DRY_RUN)),$(BENCH) table rocket --datasets "$(DATASETS)" --protocol "$(PROTOCOL)" --variant "$(VARIANT)" --out "$(OUT)")

leaderboard: setup  ## pages, tables and figures of leaderboards/ from its records
	$(BENCH) leaderboard build

bench: setup  ## speed: kernels, steps, batches, preparation
	$(BENCH) bench --out "$(OUT)"

bench-peers: setup $(PEERS)/ready  ## the same step in two other libraries
	$(BENCH) bench peers --peers-python $(PEERS)/bin/python --out "$(OUT)/peers"

# On a machine with an NVIDIA GPU and torch built for CUDA (docs/speed.md); eight minutes at most.
gpu-check: setup  ## everything that wants a GPU, in eight minutes at most
	$(BENCH) gpu-check --out "$(OUT)"

$(PEERS)/ready: benchmark/bench/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet -r benchmark/bench/peers/requirements.txt
	touch $@

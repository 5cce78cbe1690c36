# `make` alone lists the targets. Each target first makes .venv, or brings it up to date.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH  := 2.13.0
BIN    := .venv/bin
STAMP  := .venv/.installed
PIP    := -m pip --quiet --quiet --disable-pip-version-check

# More arguments for the command of test, types, demo, bench and faults: make test ARGS="-k alignment", or, in one process,
# make test ARGS="-n 0 tests/core/test_settings.py"
ARGS   ?=

PASCAL := "PASCAL CHSC2011 (Bentley, Nordehn, Coimbra, Mannor 2011), set_a and set_b"
DATABASES := "PASCAL CHSC2011 (Bentley et al. 2011); parts of PhysioNet/CinC Challenge 2016 1.0.0 (Liu et al. 2016) and of CirCor DigiScope 1.0.3 (Oliveira et al. 2022), both under the Open Data Commons Attribution License 1.0"
THREE := build/models/pascal build/models/cinc2016 build/models/circor

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
BENCHMARKS := alignment challenge stages start driver engines scale training-input prediction demo-hearts many reading side-by-side \
	short-recordings

.PHONY: help venv peers test lint types format demo bench $(addprefix bench-,$(BENCHMARKS)) faults offsets models leaderboard databases pages lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

venv: $(STAMP) ## create or update .venv with the pinned packages

demo: $(STAMP) ## classify a few recordings on a local cluster
	$(BIN)/heartbeat demo $(ARGS)

# Several processes: each computes with one thread, and what one has compiled the others read, though images for
# containers often switch that off.
test: export OMP_NUM_THREADS ?= 1
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## check the style and format of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## check the types
	$(BIN)/mypy $(ARGS)

format: $(STAMP) ## format the code as lint wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## list the benchmarks: make bench-engines ARGS="--data FOLDER", and so on
	@$(BIN)/python -m tests.benchmarks || test $$? -eq 2

$(addprefix bench-,$(BENCHMARKS)): bench-%: $(STAMP)
	$(BIN)/python -m tests.benchmarks.$(subst -,_,$*) $(ARGS)

peers: $(STAMP) ## install what the benchmarks compare heartbeat with: Ray Data, PySpark (needs Java 17), stumpy
	$(BIN)/python $(PIP) install --constraint requirements.lock --no-build-isolation --editable '.[peers]'

faults: $(STAMP) ## break store, workers, drivers and files on purpose; half an hour: make faults ARGS="soak kills"
	$(BIN)/python -m tests.faults $(ARGS)

offsets: $(STAMP) ## compare the alignment with the plain loop: make offsets DATA=FOLDER
	@test -n "$(DATA)" || { echo "which recordings? make offsets DATA=FOLDER" >&2; exit 2; }
	$(BIN)/python -m tests.benchmarks.check_offsets "$(DATA)" $(ARGS)

# First the models of PASCAL alone, then the segmenter, which the default model reads, then the default model.
models: $(STAMP) ## train the shipped models again: make models DATA=FOLDER (PASCAL, CinC 2016, CirCor)
	@test -n "$(DATA)" || { echo "which recordings? make models DATA=FOLDER with pascal-chsc2011, cinc2016, circor" >&2; exit 2; }
	rm -rf build/models
	$(BIN)/heartbeat build-dataset "$(DATA)/pascal-chsc2011" -o build/models/dataset --recipe seed-small \
		--labels "$(DATA)/pascal-chsc2011/labels.csv"
	$(BIN)/heartbeat train build/models/dataset -o build/models/seed-small --drop-label artifact --data $(PASCAL)
	$(BIN)/python -m tests.benchmarks.other_seeds build/models/dataset seed-small --drop-label artifact \
		>> build/models/seed-small/MODEL_CARD.md
	$(BIN)/heartbeat evaluate build/models/dataset --recipe cycles --without artifact -o build/models/evaluation
	$(BIN)/heartbeat train build/models/dataset -o build/models/cycles --recipe cycles \
		--evaluation build/models/evaluation --data $(PASCAL)
	{ echo; cat configs/cycles-elsewhere.md; } >> build/models/cycles/MODEL_CARD.md
	$(BIN)/heartbeat build-dataset "$(DATA)/pascal-chsc2011" -o build/models/pascal --recipe seed-small \
		--database pascal --label-map pascal
	for one in cinc2016:cinc2016 circor:circor-murmur; do \
		$(BIN)/heartbeat build-dataset "$(DATA)/$${one%:*}" -o "build/models/$${one%:*}" --recipe seed-small \
			--labels "$(DATA)/$${one%:*}/labels.csv" --label-map "$${one#*:}" --keep-columns age,sex,site || exit 1; \
	done
	$(BIN)/python -m tests.benchmarks.train_segmenter build/models/circor \
		--segments "$(DATA)/circor/segments.csv" -o heartbeat_core/features/segmenter.safetensors
	$(BIN)/heartbeat evaluate $(THREE) --recipe cycle-spectrum -o build/models/within
	$(BIN)/heartbeat evaluate $(THREE) --recipe cycle-spectrum --protocol leave-one-database-out \
		-o build/models/left-out
	$(BIN)/heartbeat train $(THREE) -o build/models/cycle-spectrum --recipe cycle-spectrum \
		--evaluation build/models/within --evaluation build/models/left-out --data $(DATABASES)
	{ echo; cat configs/cycle-spectrum-settings.md; } >> build/models/cycle-spectrum/MODEL_CARD.md
	rm -rf heartbeat_core/models
	mkdir -p heartbeat_core/models
	cp -R build/models/seed-small build/models/cycles build/models/cycle-spectrum heartbeat_core/models/

leaderboard: $(STAMP) ## judge all recipes: make leaderboard DATA=FOLDER (PASCAL CHSC2011 with its labels.csv)
	@test -n "$(DATA)" || { echo "which recordings? make leaderboard DATA=FOLDER" >&2; exit 2; }
	$(BIN)/heartbeat build-dataset "$(DATA)" -o build/leaderboard/dataset --recipe seed-small --labels "$(DATA)/labels.csv"
	$(BIN)/heartbeat evaluate build/leaderboard/dataset --recipe all --without artifact -o build/leaderboard/evaluation

# The label files of the last two say more than the published ones: the databases, patients and devices.
databases: $(STAMP) ## train without one database and judge on it: make databases DATA=FOLDER (PASCAL, CinC 2016, CirCor)
	@test -n "$(DATA)" || { echo "which recordings? make databases DATA=FOLDER with pascal-chsc2011, cinc2016, circor" >&2; exit 2; }
	$(BIN)/heartbeat build-dataset "$(DATA)/pascal-chsc2011" -o build/databases/pascal --recipe cycles \
		--database pascal --label-map pascal
	for one in cinc2016:cinc2016 circor:circor-murmur; do \
		$(BIN)/heartbeat build-dataset "$(DATA)/$${one%:*}" -o "build/databases/$${one%:*}" --recipe cycles \
			--labels "$(DATA)/$${one%:*}/labels.csv" --label-map "$${one#*:}" || exit 1; \
	done
	$(BIN)/heartbeat evaluate build/databases/pascal build/databases/cinc2016 build/databases/circor \
		--recipe cycle-spectrum --recipe cycles --recipe statistics --recipe cnn --protocol leave-one-database-out --seeds 1 \
		-o build/databases/evaluation

pages: $(STAMP) ## write the pages of the feature sets' columns in configs/ again
	$(BIN)/python -m tests.pages

lock: ## resolve the newest packages and write requirements.lock
	@echo "resolving into a fresh environment, torch $(TORCH): a few minutes"
	@rm -rf .venv-lock
	@"$(PYTHON)" -m venv .venv-lock
	@.venv-lock/bin/python $(PIP) install --upgrade 'setuptools>=77' 'torch==$(TORCH)' '.[dev]'
	@.venv-lock/bin/python $(PIP) check
	@{ echo '# Every package that `make` installs. Written by `make lock`; do not edit.'; \
	   .venv-lock/bin/python -m pip --disable-pip-version-check freeze --all \
	     --exclude pip --exclude wheel --exclude heartbeat | sed 's/+[A-Za-z0-9.]*$$//'; } > .venv-lock/new
	@! grep -n '@\|://\|^-' .venv-lock/new
	@mv .venv-lock/new requirements.lock
	@rm -rf .venv-lock build heartbeat.egg-info
	@echo "wrote requirements.lock"

clean: ## remove .venv and everything else that make creates
	rm -rf .venv .venv-lock build dist heartbeat.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heartbeat needs Python 3.11 or newer")'
	@echo "installing the packages of requirements.lock into .venv: a minute or two the first time"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python $(PIP) install -r requirements.lock
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

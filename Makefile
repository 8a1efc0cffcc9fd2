# Fervid: `make demo` shows what it does, `make test` runs every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo run dashboard test lint format types lock clean

demo: $(INSTALLED)
	@$(BIN)/fervid demo demo/videos
	@$(BIN)/fervid analyze demo/videos --out demo/results
	@echo
	@echo "Who shows what, and when, in the clip with a cut from Grace Hopper to Eileen Collins:"
	@$(BIN)/fervid query demo/results "SELECT track_id, emotion, round(start_s, 2) AS start_s, round(end_s, 2) AS end_s, \
	  round(peak, 2) AS peak FROM episodes JOIN videos USING (video_id) WHERE path LIKE '%hopper_cut%' ORDER BY start_s"
	@echo "Look at it:       make dashboard"
	@echo "Ask on:           $(BIN)/fervid query demo/results \"SELECT emotion, count(*) AS faces FROM faces GROUP BY 1\""
	@echo "Your own videos:  make run VIDEOS=folder OUT=results"

run: $(INSTALLED)
	@test -n "$(VIDEOS)" -a -n "$(OUT)" || { echo "usage: make run VIDEOS=folder OUT=results"; exit 2; }
	$(BIN)/fervid analyze "$(VIDEOS)" --out "$(OUT)"

dashboard: OUT ?= demo/results
dashboard: $(INSTALLED)
	$(BIN)/fervid dashboard "$(OUT)"

test: $(INSTALLED)
	$(BIN)/pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

# The pinned packages, then this project itself; again whenever either changed.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

lock: $(INSTALLED)
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-emit-index-url --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) demo build *.egg-info

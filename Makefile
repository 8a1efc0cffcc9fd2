# `make demo` shows what Fervid does, `make test` runs every test; both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
DEMO_INSTALLED := $(VENV)/installed-demo

.PHONY: bench demo run dashboard test test-fast lint format types docs lock clean

demo: $(DEMO_INSTALLED)
	@$(BIN)/fervid demo demo/videos
	@$(BIN)/fervid analyze demo/videos --out demo/results
	@echo
	@echo "Who shows what, and when, in the clip with a cut from Grace Hopper to Eileen Collins:"
	@$(BIN)/fervid query demo/results "SELECT track_id, emotion, round(start_s, 2) AS start_s, round(end_s, 2) AS end_s, \
	  round(peak, 2) AS peak FROM episodes JOIN videos USING (video_id) WHERE path LIKE '%hopper_cut%' ORDER BY start_s"
	@echo "Look at it:       make dashboard"
	@echo "Query:            $(BIN)/fervid query demo/results \"SELECT smooth_emotion AS emotion, sum(duration_s) AS seconds"\
	  "FROM visible('faces') GROUP BY 1\""
	@echo "Your own videos:  make run VIDEOS=folder OUT=results"

run: $(DEMO_INSTALLED)
	@test -n "$(VIDEOS)" -a -n "$(OUT)" || { echo "usage: make run VIDEOS=folder OUT=results"; exit 2; }
	$(BIN)/fervid analyze "$(VIDEOS)" --out "$(OUT)"

dashboard: OUT ?= demo/results
dashboard: $(DEMO_INSTALLED)
	$(BIN)/fervid dashboard "$(OUT)"

# One process more than cores, because tests also wait: for servers, browsers and other processes.
test: $(INSTALLED)
	$(BIN)/pytest --numprocesses $$(($$($(BIN)/python -c "import os; print(os.cpu_count())") + 1)) --dist loadfile

# Lint, types, and the tests without the markers slow and browser.
test-fast: lint types
	$(BIN)/pytest --numprocesses auto --dist loadfile -m "not slow and not browser"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

# Speed on this machine: make bench CLIPS="one.mp4 two.mp4" [BASE=checkout of another commit]
bench: $(INSTALLED)
	@test -n "$(CLIPS)" || { echo 'usage: make bench CLIPS="one.mp4 two.mp4" [BASE=checkout]'; exit 2; }
	$(BIN)/python -m benchmarks.throughput $(CLIPS) $(if $(BASE),--base "$(BASE)") --page docs/performance.md

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# Everything that is pinned, for development; again whenever the pins or the project's metadata change.
$(INSTALLED): requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --editable .
	touch $@ $(DEMO_INSTALLED)

# What the demo and the dashboard need, at the pinned versions.
$(DEMO_INSTALLED): requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints requirements.lock \
	  --editable '.[dashboard,demo,export,live,plot]'
	touch $@

lock: $(INSTALLED)
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) demo build site *.egg-info

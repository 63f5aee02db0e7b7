# Every target installs what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := 1
# Else every process would compile torch and all the other libraries anew as it starts.
export UV_COMPILE_BYTECODE := 1

.PHONY: help demo test lint docs reference models clients e2e soak bench bench-paper bench-routing bench-deferral bench-gpu gpu-wheels scenes scenes-profile screenshots crds cluster clean
help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "%-15s %s\n", $$1, $$2 }'

$(VENV)/installed: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev]'
	touch $@

demo: $(VENV)/installed ## serve the example models on this machine: PORT=8080 WORKERS=2
	$(BIN)/hadis up examples/scenes.yaml --port $(or $(PORT),8080) --workers $(or $(WORKERS),2)

lint: $(VENV)/installed docs ## style, types, who may import whom, and that the documents build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core operator router worker profiler tests --exclude 'tests/(cluster|node|page|clients/programs)'
	$(BIN)/mypy tests/cluster
	$(BIN)/mypy tests/node
	$(BIN)/mypy tests/page
	$(BIN)/lint-imports

test: lint ## lint, then every test
	$(BIN)/python -m pytest -n auto --dist loadgroup

NODE_PACKAGES := runc containernetworking-plugins iptables ipset iproute2 conntrack buildah debootstrap gcc libc6-dev openssl
e2e: $(VENV)/installed ## the product on a real Kubernetes node: builds images, installs, disturbs (root, Debian; 15 to 45 minutes)
	dpkg --status $(NODE_PACKAGES) > /dev/null 2>&1 || { apt-get update --quiet --quiet && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $(NODE_PACKAGES); }
	$(BIN)/python -m pytest tests/node --exitfirst --capture=no

soak: $(VENV)/installed ## disturb operators, API server, watches, pods and Prometheus at random: MINUTES=30 SEED=1
	PYTHONPATH=tests $(BIN)/python tests/cluster/soak.py --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/installed ## time every room on this machine: writes bench/results.md (30 minutes)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[bench]'
	{ echo "# Benchmarks"; echo; echo "Written by \`make bench\` on $$(nproc) cores of $$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2)."; \
	  echo; echo "## Planner"; echo; taskset -c 0 $(BIN)/python bench/bench_solve.py; \
	  echo; echo "## Difficulty"; echo; taskset -c 0 $(BIN)/python bench/bench_difficulty.py; \
	  echo; echo "## Router"; echo; $(BIN)/python bench/bench_router.py; \
	  echo; echo "## A flood"; echo; $(BIN)/python bench/bench_flood.py; \
	  echo; echo "## Several routers"; echo; $(BIN)/python bench/bench_routers.py; \
	  echo; echo "## Start"; echo; $(BIN)/python bench/bench_start.py; \
	  echo; echo "## A busy machine"; echo; $(BIN)/python bench/bench_busy.py; \
	  echo; echo "## Operator"; echo; $(BIN)/python bench/bench_operator.py; \
	  echo; echo "## Profiler"; echo; $(BIN)/python bench/bench_quality.py; } > bench/results.draft
	mv bench/results.draft bench/results.md

bench-paper: $(VENV)/installed ## compare policies on the paper's data (DATA=folder): writes bench/paper.md and pictures
	$(BIN)/python bench/bench_paper.py $(or $(DATA),../shared/data/paper) bench/paper.md

bench-routing: $(VENV)/installed ## what choosing prompts is worth on the example models: writes bench/routing.md
	{ echo '# What choosing prompts is worth'; echo; echo 'Made by `make bench-routing` from what `make scenes-profile` noted down.'; echo; \
	  $(BIN)/python bench/bench_routing.py; } > bench/routing.draft
	mv bench/routing.draft bench/routing.md

bench-deferral: $(VENV)/installed ## refining and judging early, tried on the example models: writes bench/deferral.md (6 minutes)
	{ echo '## Deferral that was tried'; echo; echo 'Made by `make bench-deferral` from the images of `make scenes-profile`.'; echo; \
	  echo '### Refine in place of redrawing'; echo; $(BIN)/python bench/bench_refine.py; \
	  echo; echo '### Judge before the image is finished'; echo; $(BIN)/python bench/bench_early.py; } > bench/deferral.draft
	mv bench/deferral.draft bench/deferral.md

bench-gpu: $(VENV)/installed ## measure tiers with random weights on this machine's GPU: writes bench/gpu/results.md (9 minutes)
	PYTHON=$(BIN)/python bench/gpu/run.sh

WHEELS := build/gpu-wheels
PYTHON_VERSION := 3.12
gpu-wheels: $(VENV)/installed ## wheels for bench/gpu/run.sh on a Linux machine with torch and no network: PYTHON_VERSION=3.12
	mkdir -p $(WHEELS)
	$(BIN)/uv pip compile --quiet --extra worker --python-version $(PYTHON_VERSION) --python-platform x86_64-manylinux_2_28 pyproject.toml \
	  | grep --extended-regexp '^[a-z0-9-]+==' | grep --extended-regexp --invert-match '^(torch|triton|setuptools|cuda|nvidia)' \
	  > $(WHEELS)/list.txt
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --python-version $(PYTHON_VERSION) \
	  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
	  --dest $(WHEELS) --requirement $(WHEELS)/list.txt nvidia-ml-py torchao

scenes: $(VENV)/installed ## train the example models again from their seed (about an hour on 2 cores)
	$(BIN)/python -m hadis_profiler.scenes.train vae build/scenes 2300 2
	$(BIN)/python -m hadis_profiler.scenes.train small build/scenes 3600 2
	$(BIN)/python -m hadis_profiler.scenes.train large build/scenes 2600 2
	$(BIN)/python -m hadis_profiler.scenes.train large build/scenes 2600 2 resume
	$(BIN)/python -m hadis_profiler.scenes.publish build/scenes examples/scenes
	rm -rf $(SCENES_WORK) # images of the models before
	$(MAKE) scenes-profile

SCENES_WORK := build/scenes/profile.work
scenes-profile: $(VENV)/installed ## measure the example models again (25 minutes on 2 idle cores)
	$(BIN)/hadis profile run examples/scenes/profile-run.yaml --work $(SCENES_WORK) --out examples/scenes/profile.yaml
	$(BIN)/python -m hadis_profiler.scenes.examples examples

screenshots: $(VENV)/installed ## take the pictures of the page that README shows
	$(BIN)/python tests/page/screenshots.py

crds: $(VENV)/installed ## write the CustomResourceDefinitions anew from the models
	$(BIN)/python -m hadis.api.crd .

reference: $(VENV)/installed ## write docs/reference and the drawings anew from the code
	PYTHONPATH=tests $(BIN)/python tests/docs/reference.py .
	$(BIN)/python tests/docs/drawings.py .

models: $(VENV)/installed ## write docs/models.md anew from what tiny models of every family do (3 minutes)
	PYTHONPATH=tests:tests/worker $(BIN)/python tests/families/write.py .

clients: $(VENV)/installed ## write docs/clients.md anew from what real clients meet (Node, Go; 3 minutes, 10 the first time)
	PYTHONPATH=tests:tests/cluster $(BIN)/python tests/clients/write.py .

docs: $(VENV)/installed ## build the documents' site into build/site; a link that leads nowhere is an error
	$(BIN)/zensical build --strict --clean

cluster: $(VENV)/installed ## a test control plane with GPU nodes and the chart, to play with
	$(BIN)/python tests/cluster/control_plane.py

clean: ## remove what the other targets made
	rm -rf $(VENV) build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

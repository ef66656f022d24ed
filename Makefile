# Every target sets itself up: .venv from uv.lock, once, and again when the lock changes.

PY := .venv/bin/python
PYTEST := $(PY) -m pytest -n logical --maxprocesses 4 --dist loadfile
TYPESCRIPT := clients/examples/typescript
PROVIDER := tests/e2e/provider/node_modules/ready
.PHONY: help setup tools demo serve test check coverage bench soak mutants proto baseline diagram format

help: ; @sed -n "/sed/!s|^\([a-z]*\): .* ## |  make \1\t|p" Makefile | expand -t 18

demo: setup ; @$(PY) clients/examples/loan_forgiveness/demo.py ## run the loan-forgiveness flow with its workers
serve: setup ; @$(PY) clients/examples/loan_forgiveness/serve.py ## a development daemon with the demo's workers
test: tools ; @$(PYTEST) --cov ## every test; among them the fast ones must reach every branch of the core
check: tools ; @sh deploy/dev/check ## format, lint, types, layers, proto, then every test
coverage: setup ; @$(PYTEST) --cov -m "not no_cover" ## only these fast tests
bench: setup ; @$(PY) -m tests.bench ## benchmarks, one JSON line per figure
soak: setup ; @$(PY) -m tests.soak ## long runs with faults
mutants: setup ; @$(PY) -m tests.mutants ## planted bugs, each of which its test must catch
format: setup ; @.venv/bin/ruff format . && .venv/bin/ruff check --fix . ## format the code and mend what lint can mend
proto: setup ; @sh deploy/dev/proto ## generate clients/hmsact/v1 from proto/
baseline: setup ; @.venv/bin/buf build proto -o proto/baseline.binpb ## at a release: the API that later changes must not break
diagram: setup ; @$(PY) -m hmsactd.core.diagram --write ARCHITECTURE.md ## the state diagrams, drawn from the transition tables
setup: .venv/ready ; @: ## only the virtual environment
tools: setup .venv/tools/promtool $(TYPESCRIPT)/dist/ready $(PROVIDER) ; @: ## what the tests need besides Python packages

.venv/ready: uv.lock pyproject.toml clients/pyproject.toml deploy/dev/setup ; @sh deploy/dev/setup
.venv/tools/promtool: | .venv/ready ; @sh deploy/dev/promtool
$(TYPESCRIPT)/dist/ready: $(TYPESCRIPT)/package-lock.json $(wildcard $(TYPESCRIPT)/*.json $(TYPESCRIPT)/*.yaml $(TYPESCRIPT)/src/*.ts proto/hmsact/v1/*.proto) ; @sh deploy/dev/typescript
$(PROVIDER): tests/e2e/provider/package-lock.json ; @sh deploy/dev/provider

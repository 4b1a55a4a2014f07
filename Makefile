# Everything runs in .venv, made from requirements/dev.lock. `make help` lists what there is.
.SILENT:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
PORT ?= 8080
METRICS_PORT ?= 9090
DATA ?= var/sample.csv
# As Docker, podman and buildah all call it, and the local stack too.
TAG ?= localhost/churn
STACK ?= dev
BASE ?= origin/main
HEAD ?= HEAD

BIN := .venv/bin
ENVIRONMENT := .venv/complete
RULES := policies/.venv/complete
UP := var/up
CODE := $(wildcard app/*.py training/*.py training/commands/*.py training/templates/* policies/*.py)
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  $(if $(UPGRADE),--upgrade --exclude-newer "$(UPGRADE)")

.PHONY: help up test check plan review review-comment preview deploy pins mutants bench cluster-test soak image push scan audit secrets workflows lock docs changelog clean
.PHONY: packages model image-test local-load advisories validate ingest champion train compare publish promote challenge traffic smoke affected pull-request revert-pull-request lock-pull-request data-issue github-release

help: ## list the targets
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

up: $(UP)/released ## train on DATA (a made-up table by default) and serve on PORT until Ctrl-C
	exec $(BIN)/churn serve --port $(PORT) --metrics-port $(METRICS_PORT)

test: check ## check, then all tests with coverage
	$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered

check: $(ENVIRONMENT) ## lint, format, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

plan: $(ENVIRONMENT) ## what STACK (dev) declares and costs, offline; RELEASE=FILE, SET="key=value ...", AGAINST=FILE (a plan kept before)
	$(BIN)/python -m stacks.plan $(STACK) $(if $(RELEASE),--release $(RELEASE)) $(foreach each,$(SET),--set '$(each)') $(if $(AGAINST),--against $(AGAINST))

review: $(ENVIRONMENT) ## what HEAD does to infrastructure, cost, model and contract beside BASE (two commits), offline; OUT=FILE, JSON=FILE
	$(BIN)/python -m stacks.review $(if $(OUT),--out $(OUT)) $(if $(JSON),--json $(JSON)) -- $(BASE) $(HEAD)

review-comment: $(ENVIRONMENT) ## put the review in OUT into the one comment of the pull request PR; GITHUB_REPOSITORY, GH_TOKEN
	$(BIN)/python -m pipelines.comment $(PR) $(OUT)

# What a preview does not know yet the rules read in a plan of the same program and values.
# ONLY=inference leaves all else as it is, for who may touch nothing else.
GUARDED = --stack $(STACK) --policy-pack policies --policy-pack-config policies/config.$(STACK).json \
  $(if $(ONLY),--target '**churn:$(ONLY):**')
preview: var/plans/$(STACK).json $(RULES) ## what `deploy` would change in STACK, refused where a rule is broken; also into SUMMARY=FILE, as Markdown
	$(if $(SUMMARY),$(SUMMARISED),pulumi preview $(GUARDED))

# No fence of Markdown is longer than one of these.
define SUMMARISED
status=0; pulumi preview --color never $(GUARDED) > var/plans/$(STACK).txt 2>&1 || status=$$?; cat var/plans/$(STACK).txt; \
  { printf '### `pulumi preview` of $(STACK)\n\n``````text\n'; cat var/plans/$(STACK).txt; printf '``````\n'; } >> "$(SUMMARY)"; exit $$status
endef

deploy: var/plans/$(STACK).json $(RULES) ## make STACK what it declares, refused where a rule is broken; ends when its canary is decided
	pulumi up $(GUARDED)
	$(BIN)/python -m stacks.rollout $(STACK)

var/plans/%.json: $(ENVIRONMENT) again
	mkdir -p $(@D)
	$(BIN)/python -m stacks.plan $* --json > $@

pins: $(ENVIRONMENT) ## every third-party version with its source, and what is not pinned
	$(BIN)/python -m stacks.pins

mutants: $(ENVIRONMENT) ## mutation testing of contract, release, decide, split and the gates, and of what stacks declare
	$(BIN)/python -m bench.mutants
	$(BIN)/python -m tests.policies.mutation

bench: $(ENVIRONMENT) var/telco.csv ## measure quality and speed on the public table
	$(BIN)/python -m bench.quality
	$(BIN)/python -m bench.serving
	$(BIN)/python -m bench.batch
	$(BIN)/python -m bench.web_servers
	$(BIN)/python -m bench.score
	$(BIN)/python -m bench.experiment
	$(BIN)/python -m bench.plan
	$(BIN)/python -m bench.review
	$(BIN)/python -m bench.canary

cluster-test: $(ENVIRONMENT) ## canaries, roll backs, drains and scaling on the cluster of KUBECONFIG, with a transcript; ARGO_ROLLOUTS=version there
	CLUSTER_REPORT=bench/results/cluster.md ARGO_ROLLOUTS=$(ARGO_ROLLOUTS) $(BIN)/pytest -q -s -p no:xdist tests/cluster

soak: $(ENVIRONMENT) ## what the service survives, at full length, in three quarters of an hour; `make test` runs a tenth of it
	SOAK=1 SURVIVAL_REPORT=bench/results/survival.md $(BIN)/pytest --timeout=0 tests/survival

image: $(ENVIRONMENT) ## build the app, training and mlflow images with docker, podman or buildah, and say what is in them
	.ci/image $(TAG)
	$(BIN)/python -m images.describe var/images/app var/images/training var/images/mlflow

# On the pinned base, from a registry; what runs in a container is skipped without root and crun.
image-test: $(ENVIRONMENT) ## build the three images twice, on the Dockerfile's own base, and test them
	CHURN_TEST_BASE="$$(sed -n 's/^ARG BASE=//p' Dockerfile)" CHURN_TEST_TARGETS="app training mlflow" $(BIN)/pytest -p no:xdist tests/image

local-load: $(ENVIRONMENT) ## images and the release's bundles into the cluster of the local stack; LOAD="minikube image load" where it is not kind's
	$(BIN)/python -m stacks.local_load $(if $(LOAD),--load "$(LOAD)")

# High and critical, with a fix: without one there is nothing to be done here.
SCANNED = for image in app training mlflow; do \
  trivy image --input var/images/$$image --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 || exit 1; done

# Both kinds of machines are built and scanned before anything is pushed, from the builder's cache, under one reference. Tags are
# written once, so that what an earlier run of this commit pushed is what it is.
PUSHED = $(REPOSITORY):$(shell git rev-parse HEAD)
push: ## build the images for amd64 and arm64, scan both and push them to REPOSITORY; each one's digest and the app's reference into OUT
	test -n "$(REPOSITORY)" || { echo "give REPOSITORY, such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com/churn" >&2; exit 2; }
	for machine in linux/arm64 linux/amd64; do OUT= PLATFORM=$$machine .ci/image $(TAG) && ($(SCANNED)) || exit 1; done
	for each in app training mlflow; do \
	  docker buildx imagetools inspect $(PUSHED)-$$each >/dev/null 2>&1 \
	    || TARGETS=$$each OUT= PUSH=1 PLATFORM=linux/amd64,linux/arm64 .ci/image $(PUSHED) || exit 1; \
	  digest=$$(docker buildx imagetools inspect $(PUSHED)-$$each --format '{{.Manifest.Digest}}') || exit 1; \
	  echo "$$each=$$digest" >> $(OUT); \
	  [ $$each != app ] || echo "image=$(REPOSITORY)@$$digest" >> $(OUT); done

scan: ## what Trivy knows against the images that `image` built: high and critical, with a fix
	$(SCANNED)

# In the lock of one image a package is locked once; all locks together name it several times.
audit: $(ENVIRONMENT) ## what is known against the packages that the images' locks name; asks PyPI, or with OFFLINE=1 what `advisories` brought
	for each in app training tracking; do $(AUDITED)requirements/$$each.lock || exit 1; done
AUDITED = $(if $(OFFLINE),$(OSV) --offline -L requirements.txt:,$(BIN)/pip-audit --disable-pip --require-hashes $(AUDIT) -r )

# All that OSV knows of PyPI's packages, as it publishes it. Its scanner is a Go program, like actionlint below.
ADVISORIES ?= var/advisories
OSV = OSV_SCANNER_LOCAL_DB_CACHE_DIRECTORY="$(abspath $(ADVISORIES))" \
  $(or $(shell command -v osv-scanner),go run github.com/google/osv-scanner/v2/cmd/osv-scanner@v2.5.1) scan source
advisories: ## bring into ADVISORIES what is known, for an audit without a network
	$(OSV) --offline-vulnerabilities --download-offline-databases -L requirements.txt:requirements/app.lock

secrets: $(ENVIRONMENT) ## what in git looks like a secret and is not known to be none (.secrets.baseline)
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

# actionlint is a Go program: where it is not installed, Go builds it, with the checksum that Go's own database has.
ACTIONLINT = $(or $(shell command -v actionlint),go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)
workflows: $(ENVIRONMENT) ## lint .github: schemas, actionlint, zizmor
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	$(ACTIONLINT)
	$(BIN)/zizmor -q --offline --strict-collection --persona pedantic .github

# Delivery, one step at a time: a workflow gives the variables, and so may anybody.
OUT ?= /dev/stdout
WHY ?= /dev/stderr
REPORT ?= var/validation.txt
# Who writes a release; git's user.email unless given.
BY = $(if $(CREATED_BY),--created-by $(CREATED_BY))

packages: ## the Debian packages that tests use
	.ci/packages

model: $(UP)/released ## train on DATA and release on local, past every gate

validate: $(ENVIRONMENT) ## whether DATA keeps the contract, and how far it moved from what STACK's champion in BUNDLES was trained on; also into REPORT
	mkdir -p $(dir $(REPORT))
	champion=$$($(BIN)/python -m pipelines.champion $(STACK)) && { \
	  $(BIN)/churn validate "$(DATA)" $(if $(BUNDLES),$${champion:+--against "$(BUNDLES)/$$champion"}) > $(REPORT) 2>&1; \
	  status=$$?; cat $(REPORT); exit $$status; }

ingest: $(ENVIRONMENT) ## DATA into the LAKE; what it says also at the end of REPORT
	mkdir -p $(dir $(REPORT))
	said=$$($(BIN)/churn ingest "$(DATA)" "$(LAKE)" 2>&1); status=$$?; echo "$$said" | tee -a $(REPORT); exit $$status

champion: $(ENVIRONMENT) ## bring the bundles of STACK's release from the store BUNDLES, for `train` and `compare`
	$(BIN)/python -m pipelines.champion $(STACK) --bundles "$(BUNDLES)"

train: $(ENVIRONMENT) ## train on DATA and compare with STACK's champion; TRIALS for each model (8)
	$(BIN)/churn train "$(DATA)" --stack $(STACK) $(if $(TRIALS),--trials $(TRIALS))

compare: $(ENVIRONMENT) ## judge the bundles of stack FROM on DATA against STACK's champion, before they are promoted there
	$(BIN)/churn evaluate "$(DATA)" --stack $(STACK) --from $(FROM)

publish: $(ENVIRONMENT) ## the bundle trained last into the store BUNDLES
	$(BIN)/churn publish --to "$(BUNDLES)"

promote: $(ENVIRONMENT) ## the bundle trained last, or all of stack FROM, to STACK's release file; IMAGE=repository@sha256:...
	$(BIN)/churn promote --stack $(STACK) $(if $(FROM),--from $(FROM)) $(if $(IMAGE),--image $(IMAGE)) $(BY)

challenge: $(ENVIRONMENT) ## the bundle trained last as a challenger on STACK, if the gates let it; `better=` into OUT, the reason into WHY
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pipelines.challenge $(STACK) $(BY) >> $(OUT) 2>> $(WHY)

# What runs beside gets the variables of this make, those of the command line as well. Not by $(MAKE), with which `make -n` would run it.
traffic: $(ENVIRONMENT) ## made-up customers to the endpoint at URL, RATE a second, for SECONDS or while the target BESIDE runs; SMOKE_TOKEN
	$(BIN)/python -m pipelines.traffic $(or $(URL),http://localhost:$(PORT)) $(if $(RATE),--rate $(RATE)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(BESIDE),-- make --no-print-directory -f $(firstword $(MAKEFILE_LIST)) $(BESIDE))

smoke: $(ENVIRONMENT) ## whether the endpoint at URL does what it says; RELEASE=FILE that it must serve, a token in SMOKE_TOKEN
	$(BIN)/python -m pipelines.smoke $(or $(URL),http://localhost:$(PORT)) $(if $(RELEASE),--release $(RELEASE))

affected: $(ENVIRONMENT) ## what the push after the commit BEFORE asks for, beside what GitHub says is deployed, into OUT
	$(BIN)/python -m pipelines.affected $(BEFORE) >> $(OUT)

pull-request: $(ENVIRONMENT) ## open or update the pull request that changes STACK's release file; GITHUB_REPOSITORY, GH_TOKEN
	$(BIN)/python -m pipelines.propose $(STACK)

revert-pull-request: $(ENVIRONMENT) ## open or update the pull request that brings STACK back to the commit BEFORE
	$(BIN)/python -m pipelines.propose $(STACK) --revert "$(BEFORE)" $(BY)

# In the environment as it was: nobody has looked at what is locked now.
lock-pull-request: ## open or update the pull request that changes the locks
	$(BIN)/python -m pipelines.relock

data-issue: $(ENVIRONMENT) ## open or update the issue about data, with the REPORT in it
	$(BIN)/python -m pipelines.report $(REPORT)

changelog: $(ENVIRONMENT) ## what changed, by version, from the commits
	$(BIN)/git-cliff

github-release: $(ENVIRONMENT) ## publish the release of the tag TAG=v1.2.3 on GitHub, with what changed since the one before
	$(BIN)/python -m pipelines.release $(TAG)

lock: $(ENVIRONMENT) ## compile requirements/*.lock from pyproject.toml; UPGRADE="7 days": to the newest that are older than that
	$(BIN)/$(LOCK) pyproject.toml --group dev -o requirements/dev.lock
	$(BIN)/$(LOCK) pyproject.toml -c requirements/dev.lock -o requirements/app.lock
	$(BIN)/$(LOCK) pyproject.toml --group training -c requirements/dev.lock -o requirements/training.lock
	$(BIN)/$(LOCK) --group tracking -c requirements/dev.lock -o requirements/tracking.lock
	$(BIN)/$(LOCK) --group policies -o requirements/policies.lock

docs: $(ENVIRONMENT) ## write the generated parts of docs/
	$(BIN)/python -m app.contract > docs/fields.md
	$(BIN)/python -m app.reference > docs/api.md
	$(BIN)/python -m stacks.summary > docs/stacks.md
	$(BIN)/python -m policies.guide > docs/policies.md
	$(BIN)/python -m tests.stacks.history > docs/example-review.md
	dot -Tsvg docs/delivery.dot -o docs/delivery.svg

clean: ## remove what make made, but for var/
	rm -rf .venv policies/.venv .coverage .pytest_cache .ruff_cache .hypothesis mutants

# uv comes from the same lock, with its hash, by the pip that every Python has.
$(ENVIRONMENT): requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python {sys.version.split()[0]} is too old: give 3.11 or later, as in make PYTHON=python3.12")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	awk '/^[^ #]/ { wanted = /^uv==/ } wanted && !/#/' requirements/dev.lock > .venv/uv.lock
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync -q --require-hashes requirements/dev.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --no-deps --no-build-isolation --offline -e .
	touch $@

# pulumi-policy and the current pulumi need different versions of protobuf.
$(RULES): requirements/policies.lock $(ENVIRONMENT)
	test -x policies/.venv/bin/python || $(BIN)/uv venv -q --python $(BIN)/python policies/.venv
	VIRTUAL_ENV=policies/.venv $(BIN)/uv pip sync -q --require-hashes requirements/policies.lock
	touch $@

var/sample.csv: | $(ENVIRONMENT)
	$(BIN)/churn sample $@ --rows 10000

var/telco.csv: | $(ENVIRONMENT)
	$(BIN)/churn fetch $@

# What is live on the local stack follows from the table, the code and the environment; nothing of it changed, nothing is done.
# A table that is not a file here (a URL, a mistake) is left to `churn validate` to read or to name.
TABLE := $(if $(filter var/sample.csv,$(DATA)),$(DATA),$(wildcard $(DATA)))
$(UP)/released: $(UP)/data $(TABLE) $(CODE) $(ENVIRONMENT) $(if $(wildcard releases/local.json),,again)
	$(BIN)/churn validate "$(DATA)"
	$(MAKE) --no-print-directory train STACK=local
	$(BIN)/churn promote --stack local $(if $(shell git config user.email),,--created-by $(or $(USER),$(LOGNAME),local))
	touch $@

# The name of the table, rewritten when another one is given.
$(UP)/data: again
	mkdir -p $(UP)
	test "$$(cat $@ 2>/dev/null)" = "$(DATA)" || echo "$(DATA)" > $@

.PHONY: again
again:

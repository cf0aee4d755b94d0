# NeonPanel MCP gateway. `make help` lists what there is.

# Each module builds by its own go.mod alone, in every target: what is tested
# is what a container image builds.
export GOWORK := off
export GOTOOLCHAIN := local

MODULES := authz mcpbackend envoy sandbox e2e
BIN     := $(CURDIR)/bin
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
.PHONY: help build run token test test-all test-chromium test-compose fmt lint clean

##@ Use

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Start the whole system on the sandbox (PORT=8080)
	@$(BIN)/stack run --port $(PORT)

token: ## Print a fresh access token of the running sandbox (ACCOUNT= SCOPE= TTL= KIND=)
	@$(BIN)/stack token $(if $(ACCOUNT),--account '$(ACCOUNT)') $(if $(SCOPE),--scope '$(SCOPE)') $(if $(TTL),--ttl '$(TTL)') $(if $(KIND),--kind '$(KIND)')

##@ Develop

build: bin/envoy ## Build every binary into bin/
	@mkdir -p $(BIN)
	@echo "building bin/authz";      $(GO) -C authz build $(STAMP) -o $(BIN)/authz .
	@echo "building bin/mcpbackend"; $(GO) -C mcpbackend build $(STAMP) -o $(BIN)/mcpbackend .
	@echo "building bin/envoyconf";  $(GO) -C envoy build $(STAMP) -o $(BIN)/envoyconf ./cmd/envoyconf
	@echo "building bin/sandbox";    $(GO) -C sandbox build $(STAMP) -o $(BIN)/sandbox .
	@echo "building bin/stack";      $(GO) -C e2e build $(STAMP) -o $(BIN)/stack ./cmd/stack

.PHONY: bin/envoy
bin/envoy:
	@if [ -x envoy/fetch ]; then envoy/fetch $(BIN)/envoy; fi

test: build ## Run all tests (no root, no Debian package)
	@mkdir -p .cache; echo "fetching the MCP clients that the last tests drive, meanwhile"; \
	$(BIN)/stack clients e2e/clients .cache >.cache/clients.log 2>&1 & \
	for m in $(MODULES); do echo "== test $$m"; (cd $$m && $(GO) test $(RACE) -timeout 8m ./...) || exit 1; done

test-all: test test-chromium test-compose ## Run all tests, and those that need root or Debian packages

test-chromium: build ## Login and consent in a real Chromium (PICTURES=dir keeps pictures)
	@command -v chromium >/dev/null || { echo "installing Debian's chromium"; apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	cd e2e && $(GO) test -tags chromium -run Chromium -count=1 -timeout 8m .

test-compose: build ## docker-compose.yml on a local container engine
	e2e/compose/run

lint: ## gofmt, go vet, staticcheck, govulncheck
	@mkdir -p .cache/tools && $(GO) -C tools build -o $(CURDIR)/.cache/tools/ tool
	@bad=$$(gofmt -l $(MODULES)); if [ -n "$$bad" ]; then echo "gofmt: run 'make fmt' for:"; echo "$$bad"; exit 1; fi
	@for m in $(MODULES); do echo "== lint $$m"; (cd $$m && $(GO) vet ./... && $(CURDIR)/.cache/tools/staticcheck ./...) || exit 1; done
	@for m in $(MODULES); do echo "== govulncheck $$m"; out=$$(cd $$m && timeout 120 $(CURDIR)/.cache/tools/govulncheck ./... 2>&1) || { \
	  case "$$out" in *"fetching vulnerabilities"*) echo "govulncheck: its database is out of reach from here; skipped"; break;; *) echo "$$out"; exit 1;; esac; }; done

fmt: ## Format the Go code
	@gofmt -w $(MODULES)

clean: ## Remove what was built and fetched
	@rm -rf bin .run .cache

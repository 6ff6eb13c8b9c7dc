# make demo   builds instar and examples/greenhouse, boots it, asks it something
# make test   passes every test
# Both need Go, git and the network, nothing else; `make test` installs with apt
# what only tests need. ARCH=arm64 make build makes the other architecture.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
ARCH ?= $(shell go env GOARCH)
HOSTARCH := $(shell go env GOARCH)
OUT := out
BIN := $(OUT)$(if $(filter-out $(HOSTARCH),$(ARCH)),/$(ARCH))
GOFLAGS_SHIP := -trimpath -buildvcs=false
LDFLAGS := -s -w -buildid=
export CGO_ENABLED ?= 0

.PHONY: all build examples demo test vm-all check vet staticcheck race fuzz bench bench-build bench-chunks bench-delta bench-dedup bench-image bench-import bench-links bench-rt bench-slots bench-small bench-start bench-switch crash crash-vm test-tools clean FORCE

all: build

build: $(BIN)/instar $(BIN)/instar-oci $(BIN)/instar-init $(BIN)/instar-agent

$(BIN)/%: FORCE
	@mkdir -p $(BIN)
	CGO_ENABLED=0 GOARCH=$(ARCH) go build $(GOFLAGS_SHIP) -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

# Everything an image of either architecture is made of.
both: FORCE
	@$(MAKE) --no-print-directory build
	@for a in amd64 arm64; do [ $$a = $(HOSTARCH) ] || $(MAKE) --no-print-directory build ARCH=$$a; done

examples: FORCE
	@for a in amd64 arm64; do for d in examples/*/cmd/*/; do \
	  name=$$(basename $$d); ex=$$(dirname $$(dirname $$d)); \
	  CGO_ENABLED=0 GOARCH=$$a go build $(GOFLAGS_SHIP) -ldflags '$(LDFLAGS)' -o $$ex/bin/$$a/$$name ./$$d; done; done

demo: both examples
	./scripts/demo

test: both examples test-tools
	./scripts/test

# Cuts the power of machines at every write, and boots what is left.
crash-vm: both examples test-tools
	environment=$$(./scripts/test-inputs); eval "$$environment"; INSTAR_CRASH=full go test -timeout 120m -count 1 -v ./test/crash

# Cuts the power of every path that makes something last, in memory and on real
# file systems. Reports are in out/crash.
crash: test-tools
	INSTAR_CRASH=full INSTAR_CRASH_REPORTS=$(CURDIR)/$(OUT)/crash go test -timeout 120m -count 1 -v ./internal/crashtest

# Every failure that is booted for real, in about half an hour.
vm-all: both test-tools
	environment=$$(./scripts/test-inputs); eval "$$environment"; \
	INSTAR_VM_ALL=1 go test -timeout 120m -v ./test/recovery ./test/firmware ./test/rt

vet:
	go vet ./...

staticcheck:
	go tool staticcheck ./...

bench: bench-build bench-image bench-start bench-switch bench-links bench-rt bench-slots

bench-build bench-image bench-start bench-switch: both test-tools
	./scripts/$@

bench-links bench-rt bench-slots:
	./scripts/$@

bench-chunks: build
	./scripts/bench-chunks

bench-delta:
	./scripts/bench-delta

# Real services reduced to what they use, with their smoke tests.
bench-small: build
	./scripts/$@

bench-import bench-dedup: test-tools
	./scripts/$@

# Debian packages that only tests and benchmarks need: oracles and peers.
test-tools:
	./scripts/test-tools

clean:
	rm -rf $(OUT)

FORCE:

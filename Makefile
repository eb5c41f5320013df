# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0

VERSION ?= 0.1.0
# Images of the controller and of the agent.
IMG ?= fairlead-controller:v$(VERSION)
AGENT_IMG ?= fairlead-agent:v$(VERSION)
CONTAINER_TOOL ?= docker
PLATFORMS ?= linux/arm64,linux/amd64
# What to install: default, or single-node for a cluster with one node.
CONFIG ?= default
# Image of the OLM bundle, its channels, and the default channel.
BUNDLE_IMG ?= fairlead-bundle:v$(VERSION)
CHANNELS ?= candidate
DEFAULT_CHANNEL ?= candidate
# hack/controlplane.sh finds or builds the control plane binaries; KUBEBUILDER_ASSETS
# is the folder of existing ones.
KUBECTL ?= kubectl

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec
# The folders of ip and nft are not in every user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

BIN := $(CURDIR)/bin
CACHE := $(or $(FAIRLEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fairlead)
CONTROLLER_GEN := $(BIN)/controller-gen
CRD_REF_DOCS := $(BIN)/crd-ref-docs
KUSTOMIZE := $(BIN)/kustomize
GOVULNCHECK := $(BIN)/govulncheck
GOLANGCI_LINT := $(CACHE)/golangci-lint-$(shell sed -n 's|.*github.com/golangci/golangci-lint/v2 \(v[^ ]*\).*|\1|p' hack/lint/go.mod)
LAB := $(BIN)/lab
LDFLAGS := -s -w -X github.com/fairlead-proxy/fairlead/version.Version=v$(VERSION)
# Binaries are static: in the lab they run in containers.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"
# More flags for the benchmarks, e.g. `make bench BENCHFLAGS="-services 1000"`.
BENCHFLAGS ?=
# The images to make, see `make lab-images`; empty: all that are not on demand.
LAB_IMAGES ?=
# The mutants to run: a regular expression of AREA/NAME.
MUTANTS ?=
# How long a fuzz target runs, see `make fuzz`.
FUZZTIME ?= 1m
# How long nemeses strike, which (kill-agent,kill-leader), or also how often
# (kill-agent:100,kill-leader:20), and the seed of the order. See `make soak`.
SOAKTIME ?= 10m
NEMESIS ?=
SEED ?= 0
# How long the simulation runs, and its first seed (0: a random one), see `make sim`.
SIMTIME ?= 10m
SIMSEED ?= 0
# What proxies Services in Kubernetes' own tests (fairlead or kube-proxy), in which mode (empty: all that the nodes can),
# and which cases (all, conformance, or a regular expression). See `make test-upstream`.
PROXY ?= fairlead
MODE ?=
SUITE ?= all
CNI ?= flannel

.PHONY: all
all: build

##@ General

.PHONY: help
help: ## Show this help.
	@[ ! -t 1 ] || { name=$$(printf '\033[36m'); part=$$(printf '\033[1m'); end=$$(printf '\033[0m'); }; \
	awk -v name="$$name" -v part="$$part" -v end="$$end" 'BEGIN {FS = ":.*##"; printf "\nUsage:\n  make %s<target>%s\n", name, end} /^[a-zA-Z_0-9-]+:.*?##/ { printf "  %s%-18s%s %s\n", name, $$1, end, $$2 } /^##@/ { printf "\n%s%s%s\n", part, substr($$0, 5), end } ' $(MAKEFILE_LIST)

##@ Development

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate CRDs and RBAC roles from the markers in the code.
	$(CONTROLLER_GEN) rbac:roleName=manager-role crd paths="./..." output:crd:artifacts:config=config/crd/bases

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate deepcopy functions and apply configurations.
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt applyconfiguration:headerFile=hack/boilerplate.go.txt paths="./api/..."

.PHONY: api-docs
api-docs: $(CRD_REF_DOCS) ## Write docs/api.md from the types of the API.
	$(CRD_REF_DOCS) --source-path=api/v1alpha1 --config=hack/apidocs/config.yaml --templates-dir=hack/apidocs \
		--renderer=markdown --output-path=docs/api.md --log-level=ERROR

.PHONY: fmt
fmt: ## Format the code.
	go fmt ./...
	cd test && go fmt ./...
	cd hack/images && go fmt ./...

.PHONY: vet
vet: ## Vet the code.
	go vet ./...
	cd test && go vet -tags e2e ./...
	cd hack/images && go vet ./...

.PHONY: test
test: test-unit test-images test-api test-cases ## Run all tests except those that need a whole cluster.
	@[ "$$(id -u)" = 0 ] || echo "Not root: the tests that create network namespaces were skipped."

.PHONY: test-all
test-all: root ## Run what .ci/run runs, and all longer tests; go on after a failure, with a summary at the end.
	.ci/run all

.PHONY: test-unit
test-unit: deps ## Run unit tests; as root, also the tests on the real kernel.
	go test -race -shuffle=on -timeout 30m ./...

.PHONY: test-images
test-images: deps $(KUSTOMIZE) ## Make the images in two folders, and check that they are the same, and what is in them.
	cd hack/images && go test -count=1 -timeout 30m ./...

.PHONY: test-api
test-api: deps ## Run the tests against a real apiserver, and the lab's own tests.
	hack/helm.sh
	hack/promtool.sh
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; cd test && go test -race -shuffle=on -count=1 -timeout 30m $$(go list ./... | grep -v /cases$$)

.PHONY: sim
sim: ## Run new seeds of the simulation for SIMTIME, from SIMSEED if it is set.
	cd test && go test -run TestSoak -count=1 -timeout 0 -v ./sim -sim.time=$(SIMTIME) -sim.seed=$(SIMSEED)

.PHONY: test-cases
test-cases: deps ## Run the table of cases against the pure functions and on the real kernel.
	cd test/cases && go test -race -count=1 -timeout 30m

.PHONY: test-oracle
test-oracle: root deps ## Run the table of cases with kube-proxy; only declared differences may occur.
	export KUBE_PROXY="$$(hack/controlplane.sh kube-proxy)/kube-proxy"; cd test/cases && go test -run TestOracle -count=1 -timeout 40m

.PHONY: test-vm
test-vm: root deps build ## Run the tests that need ip_vs, on this kernel if it has ip_vs, else in QEMU.
	cd test && FAIRLEAD_VM_KERNEL="$$(../hack/vm-kernel.sh)" go test -count=1 ./vm/
	FAIRLEAD_AGENT=$(BIN)/fairlead-agent hack/test-vm.sh

.PHONY: test-vm-node
test-vm-node: root lab-images ## Run the test of a node with the mode IPVS: node-1 of a lab is a virtual machine (docs/lab.md).
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)" KUBE_PROXY="$$(hack/controlplane.sh kube-proxy)/kube-proxy"; \
		cd test && go test -tags e2e -count=1 -timeout 60m -v -run TestIPVS ./lab -vm

.PHONY: test-e2e
test-e2e: root lab-images ## Run the end-to-end tests on a lab; they start and stop it.
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; cd test && go test -tags e2e -count=1 -p 1 -timeout 60m -v ./e2e/... ./lab/

.PHONY: test-upstream
test-upstream: root ## Run SIG Network's own end-to-end tests on a lab: PROXY, MODE, SUITE (docs/upstream.md).
	$(MAKE) lab-images LAB_IMAGES=
	$(MAKE) lab-images LAB_IMAGES="agnhost regression-issue-74839 kube-proxy"
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; \
		export PATH="$$(hack/controlplane.sh e2e.test ginkgo kubectl):$$PATH"; \
		cd test && go test -tags e2e -count=1 -timeout 6h -v -run TestUpstream ./upstream -proxy "$(PROXY)" -mode "$(MODE)" -suite '$(SUITE)'

.PHONY: test-cni
test-cni: root lab-images ## Run the test of Services on a lab whose Pods a CNI plugin connects: CNI (docs/cni.md).
	$(MAKE) lab-images LAB_IMAGES="$(CNI)"
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)" FAIRLEAD_LAB_CNI="$(CNI)"; \
		export PATH="$$(hack/controlplane.sh kubectl):$$PATH"; \
		cd test && go test -tags e2e -count=1 -timeout 20m -v -run TestCNI ./cni

.PHONY: test-ingress
test-ingress: root lab-images ## Run the test of an ingress controller behind a Service on a lab, in the modes NFTables and IPTables (docs/ingress.md).
	$(MAKE) lab-images LAB_IMAGES=traefik
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)" PATH="$$(hack/controlplane.sh kubectl):$$PATH"; \
		cd test && go test -tags e2e -count=1 -timeout 20m -v -run TestIngress ./ingress

.PHONY: test-docs
test-docs: root lab-images ## Follow the commands of docs/migration.md on a lab with kube-proxy, under connections, of docs/rollouts.md, and of docs/installation.md.
	$(MAKE) lab-images LAB_IMAGES=kube-proxy
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; \
		export PATH="$$(hack/controlplane.sh kubectl):$$PATH"; \
		cd test && go test -tags e2e -count=1 -timeout 40m -v ./docs

.PHONY: test-upgrade
test-upgrade: root lab-images ## Upgrade and downgrade a lab from and to the previous release, test/upgrade/previous, under connections.
	export PATH="$$(hack/controlplane.sh kubectl):$$PATH" KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; hack/previous.sh; \
		cd test && go test -tags e2e -count=1 -timeout 20m -v -run TestUpgrade ./upgrade

.PHONY: test-mutants
test-mutants: root deps ## Plant the bugs of test/mutants one by one; the tests must find each. MUTANTS selects some.
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; cd test && go run ./mutants/cmd/mutants -run "$(MUTANTS)"

.PHONY: test-e2e-rollout
test-e2e-rollout: root lab-images ## Only the part of test-e2e that changes policies in stages, has nodes return, and makes faults for kubectl fairlead check, and kubectl fairlead test.
	$(MAKE) lab-images LAB_IMAGES="kube-proxy agnhost"
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)" KUBE_PROXY="$$(hack/controlplane.sh kube-proxy)/kube-proxy"; \
		cd test && go test -tags e2e -count=1 -timeout 70m -v -run 'Rollout|Revision|NodeReturns|TakeOver|CheckFaults|Connectivity' ./e2e -rollouts

.PHONY: test-robustness
test-robustness: root lab-images ## Only the part of test-e2e that breaks something under traffic, one nemesis at a time.
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; cd test && go test -tags e2e -count=1 -timeout 20m -v -run TestNemeses ./e2e

.PHONY: soak
soak: root lab-images ## Let NEMESIS (default: all) strike for SOAKTIME in the lab; SEED repeats a run (docs/lab.md).
	export KUBEBUILDER_ASSETS="$$(hack/controlplane.sh)"; cd test && go test -tags e2e -count=1 -timeout 0 -v -run TestSoak ./e2e \
		-soak "$(SOAKTIME)" -soak-seed "$(SEED)" -nemesis "$(NEMESIS)"

.PHONY: bench
bench: root deps build ## Measure the cost per node by cluster size (docs/benchmarks.md).
	go run ./bench -agent $(BIN)/fairlead-agent $(BENCHFLAGS)

.PHONY: bench-ipvs
bench-ipvs: root deps build ## Compare the mode IPVS with kube-proxy's, on this kernel or in QEMU (docs/benchmarks-ipvs.md).
	CGO_ENABLED=0 go build -trimpath -o $(BIN)/ ./bench
	hack/vm -timeout 4h $(BIN)/bench -agent $(BIN)/fairlead-agent \
		-kube-proxy "$$(hack/controlplane.sh kube-proxy)/kube-proxy" -services 1000 -changes 5 $(BENCHFLAGS) ipvs

.PHONY: bench-iptables
bench-iptables: root deps build ## Compare the mode IPTables with kube-proxy's, in both variants (docs/benchmarks-iptables.md).
	go run ./bench -agent $(BIN)/fairlead-agent -kube-proxy "$$(hack/controlplane.sh kube-proxy)/kube-proxy" \
		-services 1000,5000,10000 -changes 20 -patience 3m $(BENCHFLAGS) iptables

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME.
	hack/fuzz.sh $(FUZZTIME)

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters, which also enforce the import directions.
	$(GOLANGCI_LINT) run --allow-parallel-runners
	cd test && $(GOLANGCI_LINT) run --allow-parallel-runners --config ../.golangci.yml
	cd hack/images && $(GOLANGCI_LINT) run --allow-parallel-runners --config ../../.golangci.yml

.PHONY: lint-fix
lint-fix: $(GOLANGCI_LINT) ## Run the linters with automatic fixes.
	$(GOLANGCI_LINT) run --fix

.PHONY: lint-config
lint-config: $(GOLANGCI_LINT) ## Check the linters' configuration.
	$(GOLANGCI_LINT) config verify

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Look for known vulnerabilities in what the programs call. Needs vuln.go.dev, or VULNDB with a copy of it.
	$(GOVULNCHECK) $(if $(VULNDB),-db $(VULNDB)) ./...

.PHONY: verify
verify: verify-generated verify-bundle verify-chart verify-modules verify-text ## Check generated files, modules, headers and sizes.

.PHONY: verify-generated
verify-generated: manifests generate api-docs ## Check that generated files are up to date.
	hack/verify-clean.sh "make manifests generate api-docs" api config docs/api.md

.PHONY: verify-bundle
verify-bundle: bundle ## Check that the OLM bundle is up to date.
	hack/verify-clean.sh "make bundle" bundle bundle.Dockerfile

.PHONY: verify-chart
verify-chart: chart ## Check that the Helm chart is up to date, and what Helm renders of it.
	hack/verify-clean.sh "make chart" charts
	hack/verify-chart.sh $(KUSTOMIZE)

.PHONY: verify-modules
verify-modules: ## Check that the go.mod files are tidy.
	hack/verify-modules.sh

.PHONY: verify-text
verify-text: ## Check formatting, licence headers, and the size of files and functions.
	hack/verify-text.sh

##@ Build

.PHONY: build
build: ## Build controller and agent into bin/.
	$(GO_BUILD) -o $(BIN)/ ./cmd/...

.PHONY: run
run: manifests generate build ## Run the controller on this machine, against the cluster of the current kubeconfig.
	$(BIN)/fairlead-controller --leader-elect=false

.PHONY: images
images: ## Write images as OCI layouts into dist/images, without a container engine (docs/images.md).
	cd hack/images && go run . -version v$(VERSION) build $(CURDIR)/dist/images controller=$(IMG) agent=$(AGENT_IMG) bundle=$(BUNDLE_IMG)

.PHONY: release
release: manifests generate $(KUSTOMIZE) ## Write what a version consists of into dist: images, manifests with their digests, the plugin of kubectl, checksums, signatures (docs/images.md).
	hack/release.sh $(KUSTOMIZE) $(CONFIG) v$(VERSION) $(IMG) $(AGENT_IMG) $(BUNDLE_IMG) dist

.PHONY: release-push
release-push: ## Push the images of dist, with their signatures, SBOMs and provenance, to where they are named (docs/images.md).
	cd hack/images && go run . push $(CURDIR)/dist/images

.PHONY: images-lock
images-lock: ## Lock the current versions of the Debian packages of images and lab-images.
	cd hack/images && go run . lock

.PHONY: docker-build
docker-build: ## Build the images of controller and agent.
	$(CONTAINER_TOOL) build --build-arg VERSION=v$(VERSION) --target controller -t $(IMG) .
	$(CONTAINER_TOOL) build --build-arg VERSION=v$(VERSION) --target agent -t $(AGENT_IMG) .

.PHONY: docker-push
docker-push: ## Push the images.
	$(CONTAINER_TOOL) push $(IMG)
	$(CONTAINER_TOOL) push $(AGENT_IMG)

.PHONY: docker-buildx
docker-buildx: ## Build and push the images for PLATFORMS.
	$(CONTAINER_TOOL) buildx build --push --platform=$(PLATFORMS) --build-arg VERSION=v$(VERSION) --target controller -t $(IMG) .
	$(CONTAINER_TOOL) buildx build --push --platform=$(PLATFORMS) --build-arg VERSION=v$(VERSION) --target agent -t $(AGENT_IMG) .

.PHONY: build-installer
build-installer: manifests generate $(KUSTOMIZE) ## Write all manifests into dist/install.yaml.
	hack/build-installer.sh $(KUSTOMIZE) $(IMG) $(AGENT_IMG) $(CONFIG)

##@ Deployment

ifndef ignore-not-found
  ignore-not-found = false
endif

.PHONY: install
install: manifests ## Install the CRDs into the cluster of the current kubeconfig.
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: manifests ## Remove the CRDs, and with them all ProxyConfigs. Nodes keep forwarding.
	$(KUBECTL) delete --ignore-not-found=$(ignore-not-found) -k config/crd

.PHONY: deploy
deploy: build-installer ## Install Fairlead into the cluster of the current kubeconfig.
	$(KUBECTL) apply --server-side -f dist/install.yaml

.PHONY: undeploy
undeploy: ## Remove Fairlead from the cluster. Nodes keep or lose the programmed rules, see deletionPolicy.
	KUBECTL="$(KUBECTL)" hack/undeploy.sh --ignore-not-found=$(ignore-not-found)

##@ Helm chart

.PHONY: chart
chart: manifests $(KUSTOMIZE) ## Write the parts of charts/fairlead that follow from config/default.
	$(KUSTOMIZE) build config/default | go run ./hack/chart -version $(VERSION)
	mkdir -p charts/fairlead/files && cp config/prometheus/rules.yaml charts/fairlead/files/

##@ OLM bundle

.PHONY: bundle
bundle: manifests $(KUSTOMIZE) ## Write the bundle for the Operator Lifecycle Manager into bundle/.
	$(KUSTOMIZE) build config/manifests | go run ./hack/bundle --version=$(VERSION) --image=$(IMG) --agent-image=$(AGENT_IMG) \
		--channels=$(CHANNELS) --default-channel=$(DEFAULT_CHANNEL) --icon=config/manifests/icon.svg

.PHONY: bundle-validate
bundle-validate: ## Validate the bundle, also with OLM's own validators.
	hack/bundle-validate.sh

.PHONY: bundle-build
bundle-build: ## Build the bundle's image.
	$(CONTAINER_TOOL) build -f bundle.Dockerfile -t $(BUNDLE_IMG) .

.PHONY: bundle-push
bundle-push: ## Push the bundle's image.
	$(CONTAINER_TOOL) push $(BUNDLE_IMG)

##@ Lab: a local cluster

.PHONY: demo
demo: root lab-images ## Start a lab, take over from kube-proxy and walk through Services; every step is checked.
	$(MAKE) lab-images LAB_IMAGES=kube-proxy
	test/demo/run.sh

.PHONY: lab-up
lab-up: root lab-images ## Start the lab: a control plane, three nodes, an outside client.
	$(LAB) up --bin $(BIN)

.PHONY: lab-down
lab-down: root ## Stop the lab and remove everything that it created.
	cd test && CGO_ENABLED=0 go build -trimpath -o $(LAB) ./lab/cmd/lab
	$(LAB) down

.PHONY: lab-images
lab-images: lab-binaries ## Write the images of the lab's Pods into bin/lab-images. LAB_IMAGES selects some, also those of Kubernetes' tests.
	cd hack/images && go run . lab $(BIN)/lab-images $(LAB_IMAGES)

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "The lab needs root to create network namespaces: run make as root." >&2; exit 1; }

.PHONY: lab-binaries
lab-binaries: deps build ## Build all binaries that run in the lab.
	cd test && CGO_ENABLED=0 go build -trimpath -o $(BIN)/ ./lab/cmd/...

##@ Dependencies

.PHONY: deps
deps: ## Install missing Debian packages for tests and lab.
	hack/deps.sh

.PHONY: setup-envtest
setup-envtest: ## Find, download or build the control plane binaries, and print their folder.
	@hack/controlplane.sh

.PHONY: controller-gen
controller-gen: $(CONTROLLER_GEN) ## Build controller-gen.
$(CONTROLLER_GEN): hack/tools/go.mod
	cd hack/tools && go build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

.PHONY: kustomize
kustomize: $(KUSTOMIZE) ## Build kustomize.
$(KUSTOMIZE): hack/tools/go.mod
	cd hack/tools && go build -o $@ sigs.k8s.io/kustomize/kustomize/v5

.PHONY: crd-ref-docs
crd-ref-docs: $(CRD_REF_DOCS) ## Build crd-ref-docs.
$(CRD_REF_DOCS): hack/tools/go.mod
	cd hack/tools && go build -o $@ github.com/elastic/crd-ref-docs

.PHONY: govulncheck
govulncheck: $(GOVULNCHECK) ## Build govulncheck.
$(GOVULNCHECK): hack/tools/go.mod
	cd hack/tools && go build -o $@ golang.org/x/vuln/cmd/govulncheck

.PHONY: golangci-lint
golangci-lint: $(GOLANGCI_LINT) ## Build golangci-lint.
# Its name has the version, so a fresh clone does not build it again.
$(GOLANGCI_LINT):
	@mkdir -p $(CACHE)
	@echo "building golangci-lint: this takes some minutes, once"
	cd hack/lint && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# Two images from one build: --target controller and --target agent. Their files are those of
# `make images` (docs/images.md), with this version of Go.
FROM golang:1.26 AS build
ARG TARGETARCH
ARG VERSION=v0.1.0-dev
WORKDIR /src
COPY go.mod go.sum ./
COPY hack/images/go.mod hack/images/go.sum hack/images/
RUN go mod download && cd hack/images && go mod download
COPY . .
RUN cd hack/images && go run . -version "${VERSION}" files controller "${TARGETARCH:-$(go env GOARCH)}" /out/controller
RUN CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} go build -trimpath \
    -ldflags "-s -w -X github.com/fairlead-proxy/fairlead/version.Version=${VERSION}" -o /out/ ./cmd/fairlead-agent

# The agent talks to the kernel by netlink. Only the mode IPTables needs programs: those
# of both variants, for the node decides which one it uses.
FROM debian:12-slim AS agent
RUN apt-get update && apt-get install --yes --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/fairlead-agent /fairlead-agent
ENTRYPOINT ["/fairlead-agent"]

FROM scratch AS controller
COPY --from=build /out/controller /
USER 65532:65532
ENTRYPOINT ["/fairlead-controller"]

# Two images from one build: --target controller and --target agent.
FROM golang:1.26 AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath \
    -ldflags "-s -w ${VERSION:+-X github.com/fairlead-proxy/fairlead/version.Version=${VERSION}}" \
    -o /out/ ./cmd/fairlead-controller ./cmd/fairlead-agent

# The agent talks to the kernel by netlink. Only the mode IPTables needs programs: those
# of both variants, for the node decides which one it uses.
FROM debian:12-slim AS agent
RUN apt-get update && apt-get install --yes --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/fairlead-agent /fairlead-agent
ENTRYPOINT ["/fairlead-agent"]

FROM scratch AS controller
COPY --from=build /out/fairlead-controller /fairlead-controller
USER 65532:65532
ENTRYPOINT ["/fairlead-controller"]

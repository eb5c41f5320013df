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
RUN cd hack/images && go run . -version "${VERSION}" files agent "${TARGETARCH:-$(go env GOARCH)}" /out/agent

# Only the mode IPTables needs programs: those of both variants, for the node decides which
# one it uses. There is no shell.
FROM scratch AS agent
COPY --from=build /out/agent /
ENV PATH=/usr/sbin
USER 0:0
ENTRYPOINT ["/fairlead-agent"]

FROM scratch AS controller
COPY --from=build /out/controller /
USER 65532:65532
ENTRYPOINT ["/fairlead-controller"]

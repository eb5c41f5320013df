#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Provides the binaries of a Kubernetes control plane and prints their directory:
#
#   hack/controlplane.sh                        all of them
#   hack/controlplane.sh etcd kube-apiserver    only these
#   hack/controlplane.sh kube-proxy e2e.test    not included in "all"
#   hack/controlplane.sh kubelet containerd containerd-shim-runc-v2 ctr runc \
#     bridge host-local loopback portmap ptp    what a node runs; the last five are CNI plugins
#   hack/controlplane.sh flanneld               Flannel's daemon, with the backends that need no C and no cloud
#   hack/controlplane.sh calico-node calico     Calico's daemon, without its eBPF data plane, and its CNI plugin
#   hack/controlplane.sh traefik                the ingress controller Traefik, without what needs the libraries of clouds
#
# They come from, in this order: $KUBEBUILDER_ASSETS; the cache; the official
# release downloads, checked against their checksums; the pinned Go modules in
# test/controlplane, built here (15 minutes on 2 cores, once).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly modules=test/controlplane
readonly all=(etcd kube-apiserver kube-controller-manager kube-scheduler kubectl coredns)
readonly on_demand=(
  kube-proxy agnhost regression-issue-74839 e2e.test ginkgo
  kubelet containerd containerd-shim-runc-v2 ctr runc bridge host-local loopback portmap ptp
  flanneld calico-node calico traefik
)

say() { echo "controlplane: $*" >&2; }
die() { say "$*"; exit 1; }

# The required versions of the modules: version MODULE-DIRECTORY PATH
version() { awk -v path="$2" '{sub(/^require /, "")} $1 == path {print $2; exit}' "$modules/$1/go.mod"; }
kubernetes_version=$(version kubernetes k8s.io/kubernetes)
etcd_version=$(version etcd go.etcd.io/etcd/server/v3)
coredns_version=$(version coredns github.com/coredns/coredns)
containerd_version=$(version containerd github.com/containerd/containerd/v2)
runc_version=$(version runc github.com/opencontainers/runc)
cni_version=$(version cni github.com/containernetworking/plugins)
flannel_version=$(version flannel github.com/flannel-io/flannel)
calico_version=$(version calico github.com/projectcalico/calico)
traefik_version=$(version traefik github.com/traefik/traefik/v3)
readonly kubernetes_version etcd_version coredns_version containerd_version runc_version cni_version flannel_version calico_version traefik_version

case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac

# module NAME: the folder of its module in test/controlplane.
module() {
  case $1 in
    etcd | coredns | runc | traefik) echo "$1" ;;
    containerd | containerd-shim-runc-v2 | ctr) echo containerd ;;
    bridge | host-local | loopback | portmap | ptp) echo cni ;;
    flanneld) echo flannel ;;
    calico-node | calico) echo calico ;;
    *) echo kubernetes ;;
  esac
}

# versioned NAME: the name with its module's version, and with a hash of the main function if that
# is ours.
versioned() {
  local directory version
  directory=$(module "$1") version=${directory}_version
  printf '%s-%s' "$1" "${!version}"
  [[ ! -e $modules/$directory/main.go ]] || printf -- '-%s' "$(sha256sum <"$modules/$directory/main.go" | head -c 8)"
}

# The programs of all commits are in one folder, with their versions. The folder that is printed
# has links to those of this commit, so it is another one as soon as one of them has changed.
root=${FAIRLEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead}
programs=$root/programs
cache=$root/controlplane-$kubernetes_version-$(for name in "${all[@]}" "${on_demand[@]}"; do versioned "$name"; done | sha256sum | head -c 8)
assets=${KUBEBUILDER_ASSETS:-}
network=unknown # open or closed, after the first download

# ---------------------------------------------------------------- downloads

# fetch URL FILE: one attempt with a short connect timeout.
fetch() {
  [[ $network == closed ]] && return 1
  if ! command -v curl >/dev/null; then
    network=closed
    say "no curl: building from source instead of downloading"
    return 1
  fi
  if curl -fsL --connect-timeout 4 --max-time 600 -o "$2" "$1"; then
    network=open
    return 0
  fi
  if [[ $network == unknown ]]; then
    network=closed
    say "$1 cannot be reached: building from source instead of downloading"
  fi
  return 1
}

# verify FILE SUM: the file has the checksum.
verify() {
  [[ $2 =~ ^[0-9a-f]{64}$ ]] && echo "$2  $1" | sha256sum --check --status && return 0
  say "$1 does not match its checksum: not used"
  return 1
}

# fetch_checked URL SUMS-URL TARGET
fetch_checked() {
  local sum
  fetch "$2" "$3.sums" && fetch "$1" "$3" || return 1
  sum=$(awk -v name="${1##*/}" '$2 == name || $2 == "*"name || NF == 1 {print $1; exit}' "$3.sums")
  verify "$3" "$sum" || { rm "$3"; return 1; }
}

# fetch_tar URL SUMS-URL MEMBER TARGET: extracts one binary from a release archive, which
# stays for the next one.
fetch_tar() {
  local archive=$work/${1##*/}
  [[ -e $archive ]] || fetch_checked "$1" "$2" "$archive" || return 1
  tar -xzf "$archive" -O "$3" >"$4"
}

# download NAME TARGET
download() {
  local url
  case $1 in
    etcd)
      url=https://github.com/etcd-io/etcd/releases/download/$etcd_version
      fetch_tar "$url/etcd-$etcd_version-linux-$arch.tar.gz" "$url/SHA256SUMS" \
        "etcd-$etcd_version-linux-$arch/etcd" "$2" ;;
    agnhost | regression-issue-74839) return 1 ;; # they are released as images only
    flanneld) return 1 ;; # released without a checksum
    calico-node | calico) return 1 ;; # calico-node is released as an image only
    e2e.test | ginkgo)
      url=https://dl.k8s.io/release/$kubernetes_version/kubernetes-test-linux-$arch.tar.gz
      fetch_tar "$url" "$url.sha256" "kubernetes/test/bin/$1" "$2" ;;
    coredns)
      url=https://github.com/coredns/coredns/releases/download/$coredns_version
      url+=/coredns_${coredns_version#v}_linux_$arch.tgz
      fetch_tar "$url" "$url.sha256" coredns "$2" ;;
    containerd | containerd-shim-runc-v2 | ctr)
      url=https://github.com/containerd/containerd/releases/download/$containerd_version
      url+=/containerd-static-${containerd_version#v}-linux-$arch.tar.gz
      fetch_tar "$url" "$url.sha256sum" "bin/$1" "$2" ;;
    runc)
      url=https://github.com/opencontainers/runc/releases/download/$runc_version
      fetch_checked "$url/runc.$arch" "$url/runc.sha256sum" "$2" ;;
    traefik)
      url=https://github.com/traefik/traefik/releases/download/$traefik_version
      fetch_tar "$url/traefik_${traefik_version}_linux_$arch.tar.gz" "$url/traefik_${traefik_version}_checksums.txt" traefik "$2" ;;
    bridge | host-local | loopback | portmap | ptp)
      url=https://github.com/containernetworking/plugins/releases/download/$cni_version
      url+=/cni-plugins-linux-$arch-$cni_version.tgz
      fetch_tar "$url" "$url.sha256" "./$1" "$2" ;;
    *)
      url=https://dl.k8s.io/release/$kubernetes_version/bin/linux/$arch/$1
      fetch "$url.sha256" "$2.sum" && fetch "$url" "$2" && verify "$2" "$(<"$2.sum")" ;;
  esac
}

# ------------------------------------------------------------------- builds

ticker=
stop_ticker() {
  [[ -z $ticker ]] || kill "$ticker" 2>/dev/null || true
  ticker=
}

# copy_module NAME PATH DIRECTORY: copies a module that is built with its own go.mod.
copy_module() {
  local module
  module=$(cd "$modules/$1" && go mod download && go list -m -f '{{.Dir}}' "$2")
  cp -r --no-preserve=mode "$module" "$3"
}

# copy_flannel DIRECTORY: without the backends that need C (udp), or a module of a cloud that not every
# proxy has (tencentvpc).
copy_flannel() {
  copy_module flannel github.com/flannel-io/flannel "$1"
  sed -i -E '\,pkg/backend/(udp|tencentvpc)"$,d' "$1/main.go"
}

# copy_traefik DIRECTORY: without the DNS providers that prove a domain for a certificate (modules of clouds
# that not every proxy has) and the provider ECS (the libraries of AWS take longer to compile than all else), and
# with an empty module that its own archive leaves out.
copy_traefik() {
  local ext=$1/pkg/config/dynamic/ext
  copy_module traefik github.com/traefik/traefik/v3 "$1"
  sed -i -E -e '\,lego/v5/providers/dns"$,d' -e 's,dns\.NewDNSChallengeProviderByName\(.*\),nil\, errors.New("built without DNS providers"),' \
    "$1/pkg/provider/acme/provider.go"
  sed -i -E '/provider\/ecs"$|\<ecs\./d' "$1/pkg/config/static/static_config.go"
  sed -i '/conf\.Ecs != nil/,/}/d' "$1/pkg/provider/aggregator/aggregator.go"
  mkdir "$ext"
  echo 'module github.com/traefik/traefik/dynamic/ext' >"$ext/go.mod"
  echo 'package ext; type HTTP struct{}; type Router struct{}' >"$ext/ext.go"
}

# copy_calico DIRECTORY: copies its module. Its API is in a folder of the repository that is a module of its
# own, so Calico's module has not got it.
copy_calico() {
  local module api=github.com/projectcalico/api api_version
  module=$(cd "$modules/calico" && go mod download && go list -m -f '{{.Dir}}' github.com/projectcalico/calico)
  api_version=$(version calico "$api")
  cp -r --no-preserve=mode "$module" "$1"
  cat "$modules/calico/go.sum" >>"$1/go.sum"
  (cd "$1" && go mod edit -replace "$api=$api@$api_version")
}

# build NAME TARGET: prints progress, because kube-apiserver takes minutes.
build() {
  command -v go >/dev/null || die "go is needed to build $1; install Go 1.26"
  local directory package started=$SECONDS status=0 cgo=0 tags= command=(go build)
  directory=$modules/$(module "$1")
  local flags="-s -w" major_minor=${kubernetes_version#v}
  local plugins=github.com/containernetworking/plugins/plugins
  case $1 in
    etcd | coredns) package=. ;;
    containerd | containerd-shim-runc-v2 | ctr)
      package=github.com/containerd/containerd/v2/cmd/$1
      tags=no_btrfs,no_devmapper,no_zfs
      flags+=" -X github.com/containerd/containerd/v2/version.Version=${containerd_version#v}" ;;
    runc)
      # Its first steps in a new namespace, and seccomp, are written in C.
      hack/deps.sh /usr/include/seccomp.h=libseccomp-dev pkg-config=pkgconf >&2
      package=github.com/opencontainers/runc cgo=1
      tags=seccomp,osusergo,netgo
      flags+=" -linkmode external -extldflags -static -X main.version=${runc_version#v}" ;;
    bridge | loopback | ptp) package=$plugins/main/$1 ;;
    host-local) package=$plugins/ipam/$1 ;;
    portmap) package=$plugins/meta/$1 ;;
    flanneld)
      directory=$work/flannel package=.
      flags+=" -X github.com/flannel-io/flannel/pkg/version.Version=$flannel_version"
      copy_flannel "$directory" ;;
    calico-node | calico)
      directory=$work/$1-module package=./node/cmd/calico-node
      [[ $1 == calico-node ]] || package=./cni-plugin/cmd/calico
      # The module's version is one of another tag of its commit. Before 3, a node takes for a cluster to migrate.
      flags+=" -X github.com/projectcalico/calico/node/pkg/lifecycle/startup.VERSION=v3.28.6-0.${calico_version##*-}"
      copy_calico "$directory" ;;
    traefik)
      directory=$work/traefik.src package=./cmd/traefik
      flags+=" -X github.com/traefik/traefik/v3/pkg/version.Version=${traefik_version#v}"
      copy_traefik "$directory" ;;
    *)
      package=k8s.io/kubernetes/cmd/$1
      case $1 in
        agnhost | regression-issue-74839) package=k8s.io/kubernetes/test/images/$1 ;;
        e2e.test) command=(go test -c -vet=off) package=k8s.io/kubernetes/test/e2e ;;
        ginkgo) package=github.com/onsi/ginkgo/v2/ginkgo ;;
      esac
      local set="-X k8s.io/component-base/version"
      flags+=" $set.gitVersion=$kubernetes_version $set.gitTreeState=clean"
      flags+=" $set.gitMajor=${major_minor%%.*} $set.gitMinor=$(cut -d. -f2 <<<"$major_minor")" ;;
  esac
  say "building $1 from its Go module"
  # Its last sleep outlives it, and must not hold the caller's pipe open.
  (while sleep 15; do say "building $1 ... $((SECONDS - started)) s"; done) >/dev/null &
  ticker=$!
  (cd "$directory" && GOTMPDIR=$work CGO_ENABLED=$cgo "${command[@]}" -trimpath -tags "$tags" -ldflags "$flags" -o "$2" "$package") >&2 || status=$?
  stop_ticker
  ((status == 0)) || die "building $1 failed"
  say "built $1 in $((SECONDS - started)) s"
}

# -------------------------------------------------------------------- wanted

# obtain NAME FILE: downloads or builds it, atomically.
obtain() {
  local target=$work/$1
  if download "$1" "$target"; then
    say "downloaded $1"
  else
    build "$1" "$target"
  fi
  chmod 755 "$target"
  mv "$target" "$2"
}

wanted=()
for argument in "$@"; do
  case $argument in
    --print) ;; # the default
    *)
      [[ " ${all[*]} ${on_demand[*]} " == *" $argument "* ]] || die "unknown binary $argument; known: ${all[*]} ${on_demand[*]}"
      wanted+=("$argument") ;;
  esac
done
((${#wanted[@]})) || wanted=("${all[@]}")

in_assets=() missing=()
for name in "${wanted[@]}"; do
  if [[ -n $assets && -x $assets/$name ]]; then
    in_assets+=("$name")
  elif [[ ! -x $cache/$name ]]; then
    missing+=("$name")
  fi
done
if ((${#in_assets[@]} == ${#wanted[@]})); then
  echo "$assets"
  exit
fi

mkdir -p "$cache" "$programs"
if ((${#missing[@]})); then
  # One process at a time: the second one finds everything in the cache.
  exec {lock}>"$programs/.lock"
  if ! flock --nonblock "$lock"; then
    say "waiting for another run that fills $programs"
    flock "$lock"
  fi
  work=$(mktemp -d "$programs/.tmp.XXXXXX")
  trap 'stop_ticker; rm -rf "$work"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  for name in "${missing[@]}"; do
    program=$programs/$(versioned "$name")
    [[ -x $program ]] || obtain "$name" "$program"
    [[ -x $cache/$name ]] || ln -f "$program" "$cache/$name"
  done
fi

if ((${#in_assets[@]} == 0)); then
  echo "$cache"
  exit
fi
# setup-envtest provides three of the six: one directory links to both places.
merged=$root/controlplane-with-assets
mkdir -p "$merged"
for name in "${wanted[@]}"; do
  source=$cache/$name
  [[ -x $assets/$name ]] && source=$assets/$name
  ln -sfn "$source" "$merged/$name"
done
echo "$merged"

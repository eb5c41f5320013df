// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package labfiles says what the lab's images have of Debian: shells and tools for Pods that
// clients are, and nginx.
package labfiles

import (
	"embed"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/choose"
	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// tools are the packages with programs, and what these need.
var tools = []string{
	"base-files", "netbase", "libc6", "libc-bin",
	"bash", "bind9-dnsutils", "conntrack", "coreutils", "curl", "dash", "debianutils", "findutils", "grep", "hostname",
	"iproute2", "ipset", "iptables", "iputils-ping", "mawk", "netcat-openbsd", "nftables", "procps", "sed", "tar", "wget",

	"bind9-libs", "gcc-12-base", "libacl1", "libattr1", "libbpf1", "libbrotli1", "libbsd0", "libcap2", "libcom-err2", "libcurl4",
	"libedit2", "libelf1", "libffi8", "libfstrm0", "libgcc-s1", "libgcrypt20", "libgmp10", "libgnutls30", "libgpg-error0",
	"libgssapi-krb5-2", "libhogweed6", "libicu72", "libidn2-0", "libip4tc2", "libip6tc2", "libipset13", "libjansson4", "libjemalloc2",
	"libjson-c5", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "libldap-2.5-0", "liblmdb0", "liblz4-1",
	"liblzma5", "libmaxminddb0", "libmd0", "libmnl0", "libncursesw6", "libnetfilter-conntrack3", "libnettle8", "libnfnetlink0",
	"libnftables1", "libnftnl11", "libnghttp2-14", "libp11-kit0", "libpcre2-8-0", "libproc2-0", "libprotobuf-c1", "libpsl5",
	"librtmp1", "libsasl2-2", "libselinux1", "libssh2-1", "libssl3", "libstdc++6", "libsystemd0", "libtasn1-6", "libtinfo6",
	"libtirpc3", "libunistring2", "libuuid1", "libuv1", "libxml2", "libxtables12", "libzstd1", "zlib1g",
}

// nginx are the packages that nginx needs besides.
var nginx = []string{"libcrypt1", "nginx", "nginx-common"}

// Packages are the Debian packages that have the files.
var Packages = slices.Concat(tools, nginx)

var (
	// wanted are programs, the extensions of iptables, and the names of protocols, tables and the release.
	wanted = regexp.MustCompile(`^usr/s?bin/[^/]+$|^usr/lib/[^/]+/xtables/lib(xt|ipt|ip6t)_[^/]+\.so$|` +
		`^usr/libexec/coreutils/[^/]+$|^etc/(protocols|services|rpc|iproute2/[^/]+)$|^(etc|usr/lib)/os-release$`)
	// left are programs that need more packages, or change an installed system.
	left = regexp.MustCompile(`^usr/sbin/(arpd|tc|ldconfig|iconvconfig|zic|nfnl_osf|iptables-apply|ip6tables-apply|add-shell|remove-shell|` +
		`update-shells|installkernel|dcb|rdma|devlink|vdpa|tipc)$|^usr/bin/(iconv|locale|localedef|catchsegv|ldd|pldd|sprof|zdump|` +
		`nsupdate|mdig|delv|routel|rdma|run-parts|savelog|ischroot|bashbug|clear_console|tempfile)$`)
	nginxWanted = regexp.MustCompile(`^usr/sbin/nginx$|^etc/nginx/(mime\.types|fastcgi_params|uwsgi_params|scgi_params)$`)
)

// alternatives are links that Debian's packages make when they are installed.
var alternatives = map[string]string{
	"usr/bin/awk": "mawk", "usr/bin/nc": "nc.openbsd", "usr/bin/netcat": "nc.openbsd", "usr/bin/sh": "dash", "usr/bin/which": "which.debianutils",
	"usr/sbin/iptables": "iptables-nft", "usr/sbin/iptables-save": "iptables-nft-save", "usr/sbin/iptables-restore": "iptables-nft-restore",
	"usr/sbin/ip6tables": "ip6tables-nft", "usr/sbin/ip6tables-save": "ip6tables-nft-save", "usr/sbin/ip6tables-restore": "ip6tables-nft-restore",
}

//go:embed base nginx
var files embed.FS

// Tools returns the files of the tools.
func Tools(packages []*debian.Contents) (rootfs.Tree, error) {
	tree, err := choose.Files(choose.MergeUsr(of(packages, tools)), func(name string) bool {
		return wanted.MatchString(name) && !left.MatchString(name)
	})
	if err != nil {
		return nil, err
	}
	for name, link := range alternatives {
		tree[name] = rootfs.File{Link: link}
	}
	choose.Links(tree)
	for _, dir := range []string{"tmp", "var/tmp"} {
		tree[dir] = rootfs.File{Mode: fs.ModeDir | fs.ModeSticky | 0o777}
	}
	for _, dir := range []string{"root", "run", "var/log"} {
		tree[dir] = rootfs.File{Mode: fs.ModeDir | 0o755}
	}
	return tree, embedded(tree, "base")
}

// Nginx returns the files of nginx that the tools, which it needs, have not.
func Nginx(packages []*debian.Contents, tools rootfs.Tree) (rootfs.Tree, error) {
	tree, err := choose.Files(choose.MergeUsr(packages), func(name string) bool {
		_, has := tools[name] // of licences, directories are links
		return has && !strings.HasPrefix(name, "usr/share/doc/") || nginxWanted.MatchString(name)
	})
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(tree, func(name string, _ rootfs.File) bool {
		_, has := tools[name]
		return has
	})
	for _, dir := range []string{"usr/share/nginx/html", "var/lib/nginx", "var/log/nginx"} {
		tree[dir] = rootfs.File{Mode: fs.ModeDir | 0o755}
	}
	return tree, embedded(tree, "nginx")
}

// embedded adds the files of a folder beside this one. Scripts end with .sh.
func embedded(tree rootfs.Tree, dir string) error {
	return fs.WalkDir(files, dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := files.ReadFile(file)
		f := rootfs.File{Mode: 0o644, Data: data}
		if path.Ext(file) == ".sh" {
			f.Mode = 0o755
		}
		tree[strings.TrimPrefix(file, dir+"/")] = f
		return err
	})
}

func of(packages []*debian.Contents, names []string) []*debian.Contents {
	var out []*debian.Contents
	for _, p := range packages {
		if slices.Contains(names, p.Name) {
			out = append(out, p)
		}
	}
	return out
}

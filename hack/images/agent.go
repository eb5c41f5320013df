// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/agentfiles"
	"github.com/fairlead-proxy/fairlead/hack/images/attest"
	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/oci"
)

// lockFile has the Debian packages of the agent's image, below the checkout.
const lockFile = "hack/images/debian.lock"

// suite is the release of Debian that they are from.
const suite = "bookworm"

// mirror is where Debian packages come from.
func mirror() string {
	return strings.TrimRight(cmp.Or(os.Getenv("FAIRLEAD_DEBIAN_MIRROR"), debian.Mirror), "/")
}

// cache is the project's folder for downloads, as for the scripts in hack/.
func cache() (string, error) {
	if dir := os.Getenv("FAIRLEAD_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "fairlead"), err
}

// agent is the agent, and the files of Debian that the mode IPTables needs. The other modes
// talk to the kernel by netlink.
func agent(ctx context.Context, s source, arch string) (*contents, error) {
	packages, snapshot, err := locked(ctx, s, arch)
	if err != nil {
		return nil, err
	}
	files, err := agentfiles.Choose(packages)
	if err != nil {
		return nil, err
	}
	c, err := program(ctx, s, "fairlead-agent", arch)
	if err != nil {
		return nil, err
	}
	// A layer of its own, and with the time of the lock: it stays while the agent changes.
	c.layers = append([]oci.Layer{{Files: files, Time: snapshot.Snapshot, Comment: "Debian " + suite + ": " + lockFile}}, c.layers...)
	c.config.User = "0:0"
	c.config.Env = []string{"PATH=/usr/sbin"}
	for _, p := range packages {
		c.components = append(c.components, attest.Component{
			Name: p.Name, Version: p.Version, SHA256: p.SHA256,
			PURL: fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", p.Name, strings.ReplaceAll(p.Version, "+", "%2B"), arch, suite),
		})
	}
	return c, nil
}

// locked reads the packages of the lock file for an architecture, from the cache if they
// are there.
func locked(ctx context.Context, s source, arch string) ([]*debian.Contents, *debian.Lock, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, lockFile))
	if err != nil {
		return nil, nil, err
	}
	lock, err := debian.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	dir, err := cache()
	if err != nil {
		return nil, nil, err
	}
	from := debian.Source{
		Mirror: mirror(), Snapshots: debian.Snapshots, Snapshot: lock.Snapshot, Cache: filepath.Join(dir, "debian"),
	}
	var out []*debian.Contents
	for _, p := range lock.For(arch) {
		file, err := from.Fetch(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		c, err := debian.Read(ctx, p, file)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, c)
	}
	return out, lock, nil
}

// refresh writes the lock file anew.
func refresh(ctx context.Context, dir string) error {
	lock, err := debian.Refresh(ctx, mirror(), suite, agentfiles.Packages, platforms)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := lock.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, lockFile), text.Bytes(), 0o644)
}

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
	"github.com/fairlead-proxy/fairlead/hack/images/labfiles"
	"github.com/fairlead-proxy/fairlead/hack/images/oci"
)

// The lock files of the Debian packages, below the checkout: of the agent's image, and of the
// lab's images.
const (
	lockFile    = "hack/images/debian.lock"
	labLockFile = "hack/images/lab.lock"
)

// suite is the release of Debian that they are from.
const suite = "bookworm"

// agentEnvironment is the one of the agent's image.
var agentEnvironment = []string{"PATH=/usr/sbin"}

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
	debianLayer, packages, err := agentLayer(ctx, s, arch)
	if err != nil {
		return nil, err
	}
	c, err := program(ctx, s, "fairlead-agent", arch)
	if err != nil {
		return nil, err
	}
	c.layers = append([]oci.Layer{debianLayer}, c.layers...)
	c.config.User = "0:0"
	c.config.Env = agentEnvironment
	for _, p := range packages {
		c.components = append(c.components, attest.Component{
			Name: p.Name, Version: p.Version, SHA256: p.SHA256,
			PURL: fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", p.Name, strings.ReplaceAll(p.Version, "+", "%2B"), arch, suite),
		})
	}
	return c, nil
}

// agentLayer is a layer of its own, and with the time of the lock: it stays while the agent
// changes. It also returns the packages that it is from.
func agentLayer(ctx context.Context, s source, arch string) (oci.Layer, []*debian.Contents, error) {
	packages, lock, err := locked(ctx, s, lockFile, arch)
	if err != nil {
		return oci.Layer{}, nil, err
	}
	files, err := agentfiles.Choose(packages)
	return oci.Layer{Files: files, Time: lock.Snapshot, Comment: "Debian " + suite + ": " + lockFile}, packages, err
}

// locked reads the packages of a lock file for an architecture, from the cache if they are
// there.
func locked(ctx context.Context, s source, file, arch string) ([]*debian.Contents, *debian.Lock, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, file))
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

// refresh writes the lock files anew.
func refresh(ctx context.Context, dir string) error {
	for _, l := range []struct {
		file, of string
		packages []string
	}{
		{lockFile, "the agent's image", agentfiles.Packages},
		{labLockFile, "the lab's images", labfiles.Packages},
	} {
		lock, err := debian.Refresh(ctx, mirror(), suite, l.packages, platforms)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := lock.Write(&text, l.of); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, l.file), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

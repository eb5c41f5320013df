// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// findTools finds the programs of the variants, those of the nft variant first, unless the
// kernel does not support nftables. Programs with the plain names belong to the variant in
// their version. With an error, some may be missing.
func (d *Dataplane) findTools(ctx context.Context) ([]*tools, error) {
	var out []*tools
	var errs []error
	for _, variant := range []string{variantNFT, variantLegacy} {
		for _, infix := range []string{"-" + variant, ""} {
			t, err := namedTools(ctx, variant, infix)
			if err != nil {
				errs = append(errs, err)
			}
			if t != nil {
				out = append(out, t)
				break
			}
		}
	}
	addresses, err := netFile(d.netns, "if_inet6")
	if err != nil {
		errs = append(errs, fmt.Errorf("list the IPv6 addresses: %w", err))
	}
	for _, t := range out {
		t.netns, t.children, t.nft = d.netns, &d.children, d.nft
		if addresses == "" && err == nil { // not even that of loopback
			t.restorers[1], t.savers[1] = "", ""
		}
	}
	out = slices.DeleteFunc(out, func(t *tools) bool { // its programs fail even if there is nothing to list
		_, err := t.generation(ctx)
		return nft.IsUnsupported(err)
	})
	return out, errors.Join(errs...)
}

// The variants: both have the same rules, in different subsystems of the kernel.
const (
	variantNFT    = "nft"
	variantLegacy = "legacy"
)

// namedTools finds programs by their names; nil without an error: they do not exist or do not
// run on this node, or belong to another variant.
func namedTools(ctx context.Context, variant, infix string) (*tools, error) {
	t := &tools{variant: variant}
	for i, family := range []string{"iptables", "ip6tables"} {
		t.restorers[i], t.savers[i] = lookUp(family+infix+"-restore"), lookUp(family+infix+"-save")
	}
	if t.restorers[0] == "" || t.savers[0] == "" {
		return nil, nil
	}
	out, err := exec.CommandContext(ctx, t.restorers[0], "--version").Output()
	if err != nil {
		if runsNever(err) {
			err = nil
		}
		return nil, err
	}
	said := strings.Fields(string(out)) // iptables-restore v1.8.9 (nf_tables)
	if len(said) < 2 || (variant == variantNFT) != strings.Contains(string(out), "(nf_tables)") {
		return nil, nil
	}
	t.version = "iptables " + said[1]
	return t, nil
}

// runsNever says whether a program that did not print its version cannot do so on this
// node, such as one without its libraries. Others have failed for want of memory,
// descriptors or processes.
func runsNever(err error) bool {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Exited()
	}
	var start *fs.PathError
	return errors.As(err, &start) && start.Op == "fork/exec" &&
		(errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOEXEC))
}

// folders are directories to search besides PATH.
var folders = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// lookUp returns the path of a program.
func lookUp(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// hints are chains of the table mangle by which kubelet, or another component of the node,
// says which variant the node uses.
var hints = [][]byte{[]byte(":KUBE-IPTABLES-HINT "), []byte(":KUBE-KUBELET-CANARY ")}

// use is how much a variant is used on this node.
type use struct {
	hinted bool
	rules  int
}

// usage finds out how much the node uses a variant. It loads nothing into the kernel:
// without the name of a table only tables in use are printed.
func usage(ctx context.Context, k kernel) (use, error) {
	var u use
	count := func(line []byte) {
		if bytes.HasPrefix(line, []byte("-A ")) {
			u.rules++
		}
		u.hinted = u.hinted || slices.ContainsFunc(hints, func(h []byte) bool { return bytes.HasPrefix(line, h) })
	}
	err := k.save(ctx, false, allTables, count)
	if err == nil {
		_ = k.save(ctx, true, allTables, count) // IPv4 is all that has to work
	}
	return u, err
}

// ignoreMissing turns missing IPv6 into success.
func ignoreMissing(err error) error {
	if errors.Is(err, errNoIPv6) {
		return nil
	}
	return err
}

// variantTries is how often in a row a variant must fail before the node is taken for one
// that uses the other. The rules of a node would be split between two variants otherwise,
// because of one call that failed.
const variantTries = 3

// failed counts a failure of a variant, and says whether it has failed often enough to go on
// without it.
func (d *Dataplane) failed(t *tools) (enough bool) {
	if d.failures == nil {
		d.failures = map[string]int{}
	}
	d.failures[t.variant]++
	return d.failures[t.variant] >= variantTries
}

// choose returns the variants that this node supports, the one in use first: the one with
// a hint, or the one with more rules, or nft.
func (d *Dataplane) choose(ctx context.Context, all []*tools) ([]*tools, error) {
	uses := map[*tools]use{}
	var errs []error
	for _, t := range all {
		u, err := usage(ctx, t)
		if err == nil {
			uses[t] = u
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", t, err))
		if !d.failed(t) {
			return nil, errors.Join(errs...)
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(t *tools) bool { _, ok := uses[t]; return !ok })
	slices.SortStableFunc(all, func(a, b *tools) int {
		if x, y := uses[a], uses[b]; x.hinted != y.hinted {
			if x.hinted {
				return -1
			}
			return 1
		}
		return uses[b].rules - uses[a].rules
	})
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

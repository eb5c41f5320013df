// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// findTools finds the programs of the variants, those of the nft variant first, unless the
// kernel does not support nftables. Programs with the plain names belong to the variant in
// their version.
func (d *Dataplane) findTools(ctx context.Context) []*tools {
	var out []*tools
	for _, variant := range []string{variantNFT, variantLegacy} {
		if t := namedTools(ctx, variant, "-"+variant); t != nil {
			out = append(out, t)
		} else if t := namedTools(ctx, variant, ""); t != nil {
			out = append(out, t)
		}
	}
	addresses, err := netFile(d.netns, "if_inet6")
	for _, t := range out {
		t.netns, t.children, t.nft = d.netns, &d.children, d.nft
		if addresses == "" || err != nil { // not even that of loopback
			t.restorers[1], t.savers[1] = "", ""
		}
	}
	return slices.DeleteFunc(out, func(t *tools) bool {
		_, err := t.generation(ctx)
		return noNFTables(err)
	})
}

// noNFTables says whether an error means that the kernel does not support nftables. Its
// programs then fail even if there is nothing to list.
func noNFTables(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}

// The variants: both have the same rules, in different subsystems of the kernel.
const (
	variantNFT    = "nft"
	variantLegacy = "legacy"
)

// namedTools finds programs by their names; nil: they do not exist, or belong to another
// variant.
func namedTools(ctx context.Context, variant, infix string) *tools {
	t := &tools{variant: variant}
	for i, family := range []string{"iptables", "ip6tables"} {
		t.restorers[i], t.savers[i] = lookUp(family+infix+"-restore"), lookUp(family+infix+"-save")
	}
	if t.restorers[0] == "" || t.savers[0] == "" {
		return nil
	}
	out, err := exec.CommandContext(ctx, t.restorers[0], "--version").Output()
	if err != nil {
		return nil
	}
	said := strings.Fields(string(out)) // iptables-restore v1.8.9 (nf_tables)
	if len(said) < 2 || (variant == variantNFT) != strings.Contains(string(out), "(nf_tables)") {
		return nil
	}
	t.version = "iptables " + said[1]
	return t
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

// choose returns the variants that this node supports, the one in use first: the one with
// a hint, or the one with more rules, or nft.
func choose(ctx context.Context, all []*tools) ([]*tools, error) {
	uses := map[*tools]use{}
	var errs []error
	for _, t := range all {
		u, err := usage(ctx, t)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t, err))
			continue
		}
		uses[t] = u
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

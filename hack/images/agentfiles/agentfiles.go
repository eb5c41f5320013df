// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package agentfiles chooses what the agent's image has of Debian: the programs of both
// variants of iptables, what they load, and the licences. No shell, no package manager.
package agentfiles

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// Packages are the Debian packages that have the files.
var Packages = []string{
	"base-files", // the texts of licences, and the name of the release
	"iptables", "libc6", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libxtables12",
}

// Programs are those that the mode IPTables starts, and the ones with which people look at a
// node's rules.
const programs = `^usr/sbin/ip6?tables-(nft|legacy)(-save|-restore)?$`

// All extensions are needed, also those for rules that Fairlead does not write: the program
// that lists a table fails at a rule whose extension it cannot load.
const extensions = `^usr/lib/[^/]+/xtables/lib(xt|ipt|ip6t)_[^/]+\.so$`

var wanted = regexp.MustCompile(programs + "|" + extensions + `|^(etc|usr/lib)/os-release$`)

// commonLicence is how a copyright file refers to the text of a licence.
var commonLicence = regexp.MustCompile(`/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]`)

// Choose returns the files of the agent's image: what is wanted, and what that needs.
func Choose(packages []*debian.Contents) (rootfs.Tree, error) {
	c := &choice{from: map[string]*debian.Contents{}, all: rootfs.Tree{}, chosen: rootfs.Tree{}}
	for _, p := range packages {
		for name, f := range p.Files {
			c.all[name], c.from[name] = f, p
		}
	}
	var errs []error
	for name := range c.all {
		if wanted.MatchString(name) {
			errs = append(errs, c.add(name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c.chosen, c.describe(packages)
}

type choice struct {
	all, chosen rootfs.Tree
	from        map[string]*debian.Contents
}

// add chooses a file, what a link leads to, and the libraries of a program.
func (c *choice) add(name string) error {
	f, ok := c.all[name]
	if !ok {
		return fmt.Errorf("no package has %s", name)
	}
	if _, done := c.chosen[name]; done {
		return nil
	}
	c.chosen[name] = f
	if f.Link != "" {
		target := path.Join("/", path.Dir(name), f.Link)
		if path.IsAbs(f.Link) {
			target = path.Clean(f.Link)
		}
		return c.add(target[1:])
	}
	needs, err := needed(f.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, library := range needs {
		found, err := c.find(library)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := c.add(found); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// library is where the dynamic linker looks, without a configuration.
var library = regexp.MustCompile(`^(usr/)?lib/[a-z0-9_]+-linux-gnu/[^/]+$`)

// find returns the path of a library; of the program that loads libraries the path is given.
func (c *choice) find(name string) (string, error) {
	if path.IsAbs(name) {
		return name[1:], nil
	}
	for file := range c.all {
		if path.Base(file) == name && library.MatchString(file) {
			return file, nil
		}
	}
	return "", fmt.Errorf("no package has the library %s", name)
}

// needed returns the libraries of a program or a library, and the program that loads them.
func needed(data []byte) ([]string, error) {
	if !bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return nil, nil
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := f.ImportedLibraries()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			out = append(out, strings.TrimRight(string(text), "\x00"))
		}
	}
	return out, err
}

// describe adds the licences of the packages that have a chosen file, and their
// descriptions, in the way of images without dpkg: scanners find known vulnerabilities by
// them.
func (c *choice) describe(packages []*debian.Contents) error {
	used := map[*debian.Contents]bool{}
	for name := range c.chosen {
		used[c.from[name]] = true
	}
	for _, p := range packages {
		if !used[p] {
			return fmt.Errorf("the package %s has nothing that is needed", p.Name)
		}
		copyright := "usr/share/doc/" + p.Name + "/copyright"
		if err := c.add(copyright); err != nil {
			return err
		}
		texts := commonLicence.FindAllString(string(c.chosen[copyright].Data), -1)
		slices.Sort(texts)
		for _, text := range slices.Compact(texts) {
			if err := c.add(text[1:]); err != nil {
				return fmt.Errorf("the licence of %s: %w", p.Name, err)
			}
		}
		c.chosen["var/lib/dpkg/status.d/"+p.Name] = rootfs.File{
			Mode: 0o644, Data: []byte(strings.TrimRight(p.Control, "\n") + "\nStatus: install ok installed\n"),
		}
	}
	return nil
}

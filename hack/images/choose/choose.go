// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package choose chooses files of Debian packages: what is wanted, what that loads, and the
// licences.
package choose

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// commonLicence is how a copyright file refers to the text of a licence.
var commonLicence = regexp.MustCompile(`/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]`)

// Files returns what is wanted of the packages, and what that needs.
func Files(packages []*debian.Contents, wanted func(name string) bool) (rootfs.Tree, error) {
	c := &choice{from: map[string]*debian.Contents{}, all: rootfs.Tree{}, chosen: rootfs.Tree{}}
	for _, p := range packages {
		for name, f := range p.Files {
			c.all[name], c.from[name] = f, p
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.all)) { // the same errors each time
		if wanted(name) {
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

// add chooses a file, what a link leads to, and the libraries of a program. With a merged
// /usr, /lib is /usr/lib.
func (c *choice) add(name string) error {
	f, ok := c.all[name]
	if _, merged := c.all["usr/"+name]; !ok && merged {
		return c.add("usr/" + name)
	}
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
	described := map[*debian.Contents]bool{}
	for more := true; more; { // the licence of a package may be in another one
		more = false
		used := map[*debian.Contents]bool{}
		for name := range c.chosen {
			used[c.from[name]] = true
		}
		for _, p := range packages {
			if !used[p] || described[p] {
				continue
			}
			if err := c.describeOne(p); err != nil {
				return err
			}
			described[p], more = true, true
		}
	}
	for _, p := range packages {
		if !described[p] {
			return fmt.Errorf("the package %s has nothing that is needed", p.Name)
		}
	}
	return nil
}

func (c *choice) describeOne(p *debian.Contents) error {
	doc := "usr/share/doc/" + p.Name
	if link := c.all[doc]; link.Link != "" {
		c.chosen[doc] = link
		doc = path.Join("usr/share/doc", link.Link)
	}
	copyright := doc + "/copyright"
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
	return nil
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package golang

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// listed is a package as `go list` describes it.
type listed struct {
	Dir      string
	Standard bool
	Module   *struct{ Path, Dir string }
}

// licence matches the files that must go with a program.
var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-.].*)?$`)

// Licences returns the licences and notices of everything that a program consists of, each
// below the path of its module: of the module, and of the folders of its packages.
func Licences(ctx context.Context, sources, name, arch string) (rootfs.Tree, error) {
	out, err := run(ctx, sources, arch, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	goroot := strings.TrimSpace(string(out))
	out, err = run(ctx, sources, arch, "list", "-deps", "-json=Dir,Standard,Module", "./cmd/"+name)
	if err != nil {
		return nil, err
	}
	tree, modules := rootfs.Tree{}, map[string]bool{}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		top, at := goroot, "go"
		if !p.Standard {
			top, at = p.Module.Dir, p.Module.Path
		}
		if err := collect(tree, top, p.Dir, at); err != nil {
			return nil, err
		}
		modules[at] = true
	}
	for m := range modules {
		if !hasLicence(tree, m) {
			return nil, fmt.Errorf("%s contains the module %s, which has no file with a licence", name, m)
		}
	}
	return tree, nil
}

// collect adds the licences of a folder and of those above it, up to the top of a module.
func collect(tree rootfs.Tree, top, dir, at string) error {
	for {
		rel, err := filepath.Rel(top, dir)
		if err != nil || strings.HasPrefix(rel, "..") {
			return fmt.Errorf("%s is not below %s", dir, top)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.IsDir() || !licence.MatchString(f.Name()) || strings.HasSuffix(f.Name(), ".go") {
				continue
			}
			data, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			tree[path.Join(at, filepath.ToSlash(rel), f.Name())] = rootfs.File{Mode: 0o644, Data: data}
		}
		if rel == "." {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// hasLicence says whether a module has a licence at its top.
func hasLicence(tree rootfs.Tree, module string) bool {
	for name := range tree {
		if path.Dir(name) == module {
			return true
		}
	}
	return false
}

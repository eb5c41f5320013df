// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"strings"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// Contents is what a package consists of.
type Contents struct {
	Package
	Files   rootfs.Tree
	Control string // its description for dpkg
}

// Read reads the file of a package.
func Read(ctx context.Context, p Package, file string) (*Contents, error) {
	c := &Contents{Package: p}
	var err error
	if c.Files, err = unpack(ctx, "--fsys-tarfile", file); err != nil {
		return nil, err
	}
	control, err := unpack(ctx, "--ctrl-tarfile", file)
	if err != nil {
		return nil, err
	}
	c.Control = string(control["control"].Data)
	return c, nil
}

// unpack reads one of the two archives in a package. Hard links become files.
func unpack(ctx context.Context, part, file string) (rootfs.Tree, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", part, file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb %s %s: %w: %s", part, file, err, stderr.String())
	}
	tree := rootfs.Tree{}
	for in := tar.NewReader(bytes.NewReader(out)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return tree, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		switch header.Typeflag {
		case tar.TypeReg:
			data, err := io.ReadAll(in)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			tree[name] = rootfs.File{Mode: fs.FileMode(header.Mode).Perm(), Data: data}
		case tar.TypeSymlink:
			tree[name] = rootfs.File{Link: header.Linkname}
		case tar.TypeLink:
			tree[name] = tree[strings.TrimPrefix(path.Clean("/"+header.Linkname), "/")]
		}
	}
}

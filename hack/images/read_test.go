// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
	"github.com/fairlead-proxy/fairlead/hack/images/sign"
)

// layout is an OCI layout as a client reads it.
type layout struct {
	dir   string
	index ociv1.Index // of the platforms
	named ociv1.Descriptor
	// images and files are by architecture.
	images map[string]image
	read   map[digest.Digest]bool
	// signatures are the manifests of signatures, by the digest of the image or the index.
	signatures map[digest.Digest]ociv1.Manifest
}

type image struct {
	descriptor ociv1.Descriptor
	manifest   ociv1.Manifest
	config     ociv1.Image
	files      rootfs.Tree
	// artifacts are the documents that refer to the image, by their media type.
	artifacts map[string][]byte
}

// readLayout reads everything, and fails if something has not the digest or the size that
// its descriptor says, or if there is a blob that nothing names.
func readLayout(t *testing.T, dir string) *layout {
	t.Helper()
	l := &layout{dir: dir, images: map[string]image{}, read: map[digest.Digest]bool{}, signatures: map[digest.Digest]ociv1.Manifest{}}
	var top ociv1.Index
	parse(t, readFile(t, filepath.Join(dir, "index.json")), &top)
	var version ociv1.ImageLayout
	parse(t, readFile(t, filepath.Join(dir, "oci-layout")), &version)
	if version.Version != "1.0.0" {
		t.Errorf("the layout has the version %q", version.Version)
	}
	l.named = top.Manifests[0]
	parse(t, l.blob(t, l.named), &l.index)
	for _, d := range l.index.Manifests {
		l.images[d.Platform.Architecture] = l.image(t, d)
	}
	for _, d := range top.Manifests[1:] {
		l.artifact(t, d)
	}
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !l.read[digest.NewDigestFromEncoded(digest.SHA256, e.Name())] {
			t.Errorf("nothing names the blob %s", e.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *layout) blob(t *testing.T, d ociv1.Descriptor) []byte {
	t.Helper()
	content := readFile(t, filepath.Join(l.dir, "blobs", "sha256", d.Digest.Encoded()))
	if got := digest.FromBytes(content); got != d.Digest || int64(len(content)) != d.Size {
		t.Errorf("%s of %d bytes is %s of %d bytes", d.Digest, d.Size, got, len(content))
	}
	l.read[d.Digest] = true
	return content
}

func (l *layout) image(t *testing.T, d ociv1.Descriptor) image {
	t.Helper()
	i := image{descriptor: d, files: rootfs.Tree{}, artifacts: map[string][]byte{}}
	parse(t, l.blob(t, d), &i.manifest)
	parse(t, l.blob(t, i.manifest.Config), &i.config)
	if i.config.Platform.Architecture != d.Platform.Architecture || i.config.OS != "linux" {
		t.Errorf("the image of %s says that it is for %s", d.Platform.Architecture, i.config.Architecture)
	}
	if len(i.config.RootFS.DiffIDs) != len(i.manifest.Layers) || len(i.config.History) != len(i.manifest.Layers) {
		t.Fatalf("%d layers have %d digests", len(i.manifest.Layers), len(i.config.RootFS.DiffIDs))
	}
	for n, layer := range i.manifest.Layers {
		plain := uncompressed(t, layer.MediaType, l.blob(t, layer))
		if got := digest.FromBytes(plain); got != i.config.RootFS.DiffIDs[n] {
			t.Errorf("layer %d is %s and not %s", n, got, i.config.RootFS.DiffIDs[n])
		}
		untar(t, plain, i.files)
	}
	return i
}

func uncompressed(t *testing.T, mediaType string, blob []byte) []byte {
	t.Helper()
	switch mediaType {
	case ociv1.MediaTypeImageLayer:
		return blob
	case ociv1.MediaTypeImageLayerGzip:
		r, err := gzip.NewReader(bytes.NewReader(blob))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return plain
	}
	t.Fatalf("a layer is a %s", mediaType)
	return nil
}

// untar reads a layer. Everything must belong to root, and be in order. Directories are only
// among the files if they are empty or have other permissions than 0755.
func untar(t *testing.T, plain []byte, files rootfs.Tree) {
	t.Helper()
	last := ""
	empty := map[string]bool{}
	defer func() {
		for dir := range empty {
			files[dir] = rootfs.File{Mode: fs.ModeDir | 0o755}
		}
	}()
	for r := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		directory := h.Typeflag == tar.TypeDir
		free := h.Typeflag == tar.TypeSymlink || directory && h.Mode == 0o1777
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Mode&0o7022 != 0 && !free {
			t.Errorf("%s belongs to %d:%d (%s) and has the mode %o", h.Name, h.Uid, h.Gid, h.Uname, h.Mode)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if name <= last {
			t.Errorf("%s comes after %s", name, last)
		}
		last = name
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		delete(empty, path.Dir(name))
		switch {
		case directory && h.Mode != 0o755:
			files[name] = rootfs.File{Mode: h.FileInfo().Mode()}
		case directory:
			empty[name] = true
		default:
			files[name] = rootfs.File{Mode: fs.FileMode(h.Mode).Perm(), Data: data, Link: h.Linkname}
		}
	}
}

// artifact reads a document, and adds it to the image that it is about.
func (l *layout) artifact(t *testing.T, d ociv1.Descriptor) {
	t.Helper()
	var m ociv1.Manifest
	parse(t, l.blob(t, d), &m)
	if m.Subject == nil || len(m.Layers) != 1 || m.ArtifactType != d.ArtifactType {
		t.Fatalf("%s is no artifact of an image: %+v", d.Digest, m)
	}
	l.blob(t, m.Config)
	if m.ArtifactType == sign.ArtifactType {
		l.blob(t, m.Layers[0])
		l.signatures[m.Subject.Digest] = m
		return
	}
	if m.Layers[0].MediaType != m.ArtifactType {
		t.Errorf("the artifact %s of the type %s has a %s", d.Digest, m.ArtifactType, m.Layers[0].MediaType)
	}
	for _, i := range l.images {
		if i.descriptor.Digest == m.Subject.Digest {
			i.artifacts[m.ArtifactType] = l.blob(t, m.Layers[0])
			return
		}
	}
	t.Errorf("the artifact %s is of no image", d.Digest)
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func parse(t *testing.T, content []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(content, v); err != nil {
		t.Fatal(err)
	}
}

// same compares two folders, byte by byte.
func same(t *testing.T, a, b string) {
	t.Helper()
	var trees [2]rootfs.Tree
	for i, dir := range []string{a, b} {
		var err error
		if trees[i], err = rootfs.Read(dir); err != nil {
			t.Fatal(err)
		}
	}
	names := func(tree rootfs.Tree) []string { return slices.Sorted(maps.Keys(tree)) }
	if diff := cmp.Diff(names(trees[0]), names(trees[1])); diff != "" {
		t.Fatalf("other files (-%s +%s):\n%s", a, b, diff)
	}
	for name, f := range trees[0] {
		if !bytes.Equal(f.Data, trees[1][name].Data) {
			t.Errorf("%s differs", name)
		}
	}
}

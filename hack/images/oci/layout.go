// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oci writes images as OCI layouts (image-spec v1.1): folders with an index, whose
// manifests and layers are files named by their SHA-256.
package oci

import (
	_ "crypto/sha256" // for the digests
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layout is an OCI layout that is being written. Close completes it.
type Layout struct {
	dir string
	top []ociv1.Descriptor
}

// versioned is in every manifest and index.
var versioned = specs.Versioned{SchemaVersion: 2}

// Create starts a layout in an empty or missing directory.
func Create(dir string) (*Layout, error) {
	if err := os.MkdirAll(filepath.Join(dir, ociv1.ImageBlobsDir, digest.SHA256.String()), 0o755); err != nil {
		return nil, fmt.Errorf("create an OCI layout: %w", err)
	}
	return &Layout{dir: dir}, nil
}

// Close writes the files that make the directory a layout.
func (l *Layout) Close() error {
	index, err := json.Marshal(ociv1.Index{Versioned: versioned, MediaType: ociv1.MediaTypeImageIndex, Manifests: l.top})
	if err != nil {
		return err
	}
	version, err := json.Marshal(ociv1.ImageLayout{Version: ociv1.ImageLayoutVersion})
	return errors.Join(err,
		os.WriteFile(filepath.Join(l.dir, ociv1.ImageIndexFile), index, 0o644),
		os.WriteFile(filepath.Join(l.dir, ociv1.ImageLayoutFile), version, 0o644))
}

// blob adds content.
func (l *Layout) blob(mediaType string, content []byte) (ociv1.Descriptor, error) {
	d := ociv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	err := os.WriteFile(blobFile(l.dir, d.Digest), content, 0o644)
	if err != nil {
		return d, fmt.Errorf("write a blob: %w", err)
	}
	return d, nil
}

// document adds a manifest, an index or a configuration.
func (l *Layout) document(mediaType string, v any) (ociv1.Descriptor, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return ociv1.Descriptor{}, err
	}
	return l.blob(mediaType, content)
}

func blobFile(dir string, d digest.Digest) string {
	return filepath.Join(dir, ociv1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Replace writes a layout into a directory, in the place of what is there. Until it is
// complete, and if it fails, nothing changes there.
func Replace(dir string, write func(*Layout) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	layout, err := Create(work)
	if err != nil {
		return err
	}
	if err := write(layout); err != nil {
		return err
	}
	if err := layout.Close(); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

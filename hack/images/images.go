// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-proxy/fairlead/hack/images/attest"
	"github.com/fairlead-proxy/fairlead/hack/images/golang"
	"github.com/fairlead-proxy/fairlead/hack/images/oci"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
	"github.com/fairlead-proxy/fairlead/hack/images/sign"
)

// project is where the sources are, and the pages about them.
const project = "https://github.com/fairlead-proxy/fairlead"

// platforms are the architectures of the images.
var platforms = []string{"amd64", "arm64"}

// kind is an image of the project.
type kind struct {
	name        string
	description string
	licenses    string // an SPDX expression
	// make returns the files and the configuration for an architecture.
	make func(context.Context, source, string) (*contents, error)
}

// contents is what an image has, and what it is made of.
type contents struct {
	layers     []oci.Layer
	config     ociv1.ImageConfig
	components []attest.Component
}

var kinds = []kind{
	{"controller", "Controller of Fairlead, a service proxy for Kubernetes", "Apache-2.0", controller},
	{"agent", "Agent of Fairlead, a service proxy for Kubernetes", "Apache-2.0 AND GPL-2.0-or-later AND LGPL-2.1-or-later", agent},
	{"bundle", "Bundle of Fairlead for the Operator Lifecycle Manager", "Apache-2.0", bundle},
}

// program returns an image with a program of the project, and the licences of all that it
// consists of.
func program(ctx context.Context, s source, name, arch string) (*contents, error) {
	p, err := golang.Build(ctx, s.dir, name, arch, s.version)
	if err != nil {
		return nil, err
	}
	licences, err := golang.Licences(ctx, s.dir, name, arch)
	if err != nil {
		return nil, err
	}
	files := rootfs.Tree{name: {Mode: 0o755, Data: p.Content}}
	files.Add("licenses", licences)
	return &contents{
		layers:     []oci.Layer{{Files: files, Time: s.time, Comment: "go build ./cmd/" + name}},
		config:     ociv1.ImageConfig{Entrypoint: []string{"/" + name}},
		components: p.Components(),
	}, nil
}

// controller is the controller alone: its certificates are those of the Pod.
func controller(ctx context.Context, s source, arch string) (*contents, error) {
	c, err := program(ctx, s, "fairlead-controller", arch)
	if err != nil {
		return nil, err
	}
	c.config.User = "65532:65532"
	return c, nil
}

// bundle is what bundle.Dockerfile says.
func bundle(_ context.Context, s source, _ string) (*contents, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "bundle.Dockerfile"))
	if err != nil {
		return nil, err
	}
	files, labels := rootfs.Tree{}, map[string]string{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0, strings.HasPrefix(words[0], "#"), line == "FROM scratch\n":
		case len(words) == 2 && words[0] == "LABEL" && strings.Contains(words[1], "="):
			key, value, _ := strings.Cut(words[1], "=")
			labels[key] = value
		case len(words) == 3 && words[0] == "COPY":
			tree, err := rootfs.Read(filepath.Join(s.dir, words[1]))
			if err != nil {
				return nil, err
			}
			files.Add(words[2], tree)
		default:
			return nil, fmt.Errorf("bundle.Dockerfile: unknown line %q", line)
		}
	}
	return &contents{
		layers: []oci.Layer{{Files: files, Time: s.time, Comment: "bundle.Dockerfile"}},
		config: ociv1.ImageConfig{Labels: labels},
	}, nil
}

// about returns what the index and the images of a kind say of themselves.
func (k kind) about(s source, reference string) oci.About {
	about := oci.About{Reference: reference, Created: s.time, Annotations: map[string]string{
		ociv1.AnnotationTitle:         "fairlead-" + k.name,
		ociv1.AnnotationDescription:   k.description,
		ociv1.AnnotationVersion:       s.version,
		ociv1.AnnotationCreated:       s.time.Format(time.RFC3339),
		ociv1.AnnotationAuthors:       "The Fairlead Authors",
		ociv1.AnnotationSource:        project,
		ociv1.AnnotationDocumentation: project,
		ociv1.AnnotationLicenses:      k.licenses,
	}}
	if s.revision != "" {
		about.Annotations[ociv1.AnnotationRevision] = s.revision
	}
	if s.modified {
		about.Annotations[ociv1.AnnotationRevision] += "-dirty"
	}
	return about
}

// build writes an image as a layout into a directory, which it replaces, and returns its
// index. Without a key, nothing is signed.
func (k kind) build(ctx context.Context, s source, key *sign.Key, reference, dir string) (ociv1.Descriptor, error) {
	var index ociv1.Descriptor
	about := k.about(s, reference)
	err := oci.Replace(dir, func(layout *oci.Layout) error {
		var images []ociv1.Descriptor
		for _, arch := range platforms {
			c, err := k.make(ctx, s, arch)
			if err != nil {
				return fmt.Errorf("the image %s of %s: %w", k.name, arch, err)
			}
			image, err := layout.AddImage(about, oci.Image{Arch: arch, Layers: c.layers, Config: c.config})
			if err == nil {
				err = k.attest(layout, s, image, c)
			}
			if err != nil {
				return fmt.Errorf("the image %s of %s: %w", k.name, arch, err)
			}
			images = append(images, image)
		}
		var err error
		if index, err = layout.AddIndex(about, images); err != nil || key == nil {
			return err
		}
		return signAll(layout, s, key, reference, append(images, index))
	})
	return index, err
}

// attest attaches what an image consists of, and how it was built.
func (k kind) attest(layout *oci.Layout, s source, image ociv1.Descriptor, c *contents) error {
	arch := image.Platform.Architecture
	described := attest.Image{
		Name: "fairlead-" + k.name + "-" + arch, Version: s.version, SHA256: image.Digest.Encoded(), Created: s.time,
		Licence: k.licenses, Components: c.components,
	}
	built := attest.Build{
		Type: project + "/blob/main/docs/images.md", Builder: project + "/blob/main/hack/images", Source: project,
		Parameters: map[string]string{"image": k.name, "version": s.version, "platform": "linux/" + arch, "SOURCE_DATE_EPOCH": strconv.FormatInt(s.time.Unix(), 10)},
		Fixed:      map[string]string{"go": runtime.Version(), "ldflags": golang.Flags(s.version), "environment": strings.Join(golang.Environment, " ")},
	}
	if !s.modified {
		built.Revision = s.revision
	}
	sbom, err := attest.SPDX(project, described)
	if err != nil {
		return err
	}
	provenance, err := attest.Provenance(described, built)
	if err != nil {
		return err
	}
	if err := attach(layout, s, image, oci.Artifact{Type: attest.MediaTypeSPDX, MediaType: attest.MediaTypeSPDX, Content: sbom}); err != nil {
		return err
	}
	return attach(layout, s, image, oci.Artifact{Type: attest.MediaTypeInToto, MediaType: attest.MediaTypeInToto, Content: provenance})
}

// signAll attaches a signature to each image of a layout: a client asks for that of the index
// that a tag names, or for that of its platform.
func signAll(layout *oci.Layout, s source, key *sign.Key, reference string, images []ociv1.Descriptor) error {
	for _, image := range images {
		a, err := key.Artifact(repository(reference), image.Digest)
		if err == nil {
			err = attach(layout, s, image, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func attach(layout *oci.Layout, s source, subject ociv1.Descriptor, a oci.Artifact) error {
	a.Annotations = map[string]string{ociv1.AnnotationCreated: s.time.Format(time.RFC3339)}
	return layout.Attach(subject, a)
}

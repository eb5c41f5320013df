// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"bytes"
	"compress/gzip"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// Layer is a part of an image's files. Layers with the same files and time are one blob.
type Layer struct {
	Files   rootfs.Tree
	Time    time.Time
	Comment string // how it was made
	Plain   bool   // not compressed
}

// Image is what an image of one platform consists of.
type Image struct {
	Arch   string // GOARCH
	Layers []Layer
	Config ociv1.ImageConfig
}

// About is the same for all platforms of an image.
type About struct {
	// Reference is where the image will be, such as registry.example/fairlead-agent:v1.
	Reference string
	Created   time.Time
	// Annotations are those of the manifests and the index, and the labels of the images.
	Annotations map[string]string
}

// AddImage adds the image of one platform. Its index names it: see AddIndex.
func (l *Layout) AddImage(about About, image Image) (ociv1.Descriptor, error) {
	created := about.Created.UTC()
	platform := ociv1.Platform{OS: "linux", Architecture: image.Arch}
	config := ociv1.Image{Created: &created, Platform: platform, Config: image.Config}
	config.Config.Labels = maps.Clone(image.Config.Labels)
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	maps.Copy(config.Config.Labels, about.Annotations)
	config.RootFS.Type = "layers"
	manifest := ociv1.Manifest{Versioned: versioned, MediaType: ociv1.MediaTypeImageManifest, Annotations: about.Annotations}
	for _, layer := range image.Layers {
		d, diff, err := l.layer(layer)
		if err != nil {
			return d, err
		}
		at := layer.Time.UTC()
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diff)
		config.History = append(config.History, ociv1.History{Created: &at, CreatedBy: layer.Comment})
	}
	var err error
	if manifest.Config, err = l.document(ociv1.MediaTypeImageConfig, config); err != nil {
		return manifest.Config, err
	}
	d, err := l.document(manifest.MediaType, manifest)
	d.Platform = &platform
	return d, err
}

// layer adds a layer, and returns also the digest of the uncompressed one.
func (l *Layout) layer(layer Layer) (d ociv1.Descriptor, diff digest.Digest, err error) {
	var plain, compressed bytes.Buffer
	if err := layer.Files.Tar(&plain, layer.Time); err != nil {
		return d, "", err
	}
	if layer.Plain {
		d, err = l.blob(ociv1.MediaTypeImageLayer, plain.Bytes())
		return d, d.Digest, err
	}
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(plain.Bytes()); err != nil {
		return d, "", err
	}
	if err := w.Close(); err != nil {
		return d, "", err
	}
	d, err = l.blob(ociv1.MediaTypeImageLayerGzip, compressed.Bytes())
	return d, digest.FromBytes(plain.Bytes()), err
}

// AddIndex adds the index of an image's platforms: this is what a tag names.
func (l *Layout) AddIndex(about About, images []ociv1.Descriptor) (ociv1.Descriptor, error) {
	d, err := l.document(ociv1.MediaTypeImageIndex, ociv1.Index{
		Versioned: versioned, MediaType: ociv1.MediaTypeImageIndex, Manifests: images, Annotations: about.Annotations,
	})
	if err != nil {
		return d, err
	}
	named := d
	// containerd takes the name of an imported image from an annotation of its own.
	named.Annotations = map[string]string{
		ociv1.AnnotationRefName: about.Reference, "io.containerd.image.name": about.Reference,
	}
	l.top = slices.Insert(l.top, 0, named)
	return d, nil
}

// Artifact is a document about an image.
type Artifact struct {
	Type      string // the artifactType of its manifest
	MediaType string // of the document
	Content   []byte
	// Annotations are those of the manifest, ContentAnnotations those of the document.
	Annotations, ContentAnnotations map[string]string
}

// Attach adds an artifact that refers to an image or an index: clients find it among the
// referrers of the subject.
func (l *Layout) Attach(subject ociv1.Descriptor, a Artifact) error {
	subject.Platform = nil
	empty := ociv1.DescriptorEmptyJSON
	if _, err := l.blob(empty.MediaType, empty.Data); err != nil {
		return err
	}
	empty.Data = nil
	layer, err := l.blob(a.MediaType, a.Content)
	if err != nil {
		return err
	}
	layer.Annotations = a.ContentAnnotations
	d, err := l.document(ociv1.MediaTypeImageManifest, ociv1.Manifest{
		Versioned: versioned, MediaType: ociv1.MediaTypeImageManifest, ArtifactType: a.Type,
		Config: empty, Layers: []ociv1.Descriptor{layer}, Subject: &subject, Annotations: a.Annotations,
	})
	if err != nil {
		return err
	}
	d.ArtifactType = a.Type
	l.top = append(l.top, d)
	return nil
}

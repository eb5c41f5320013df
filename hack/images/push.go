// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/fairlead-proxy/fairlead/hack/images/sign"
)

// push copies each layout in a directory to the registry and repository that it names, with
// all that is attached, and prints the images.
func push(ctx context.Context, dir string) error {
	indexes, err := filepath.Glob(filepath.Join(dir, "*", ociv1.ImageIndexFile))
	if err == nil && len(indexes) == 0 {
		err = fmt.Errorf("no OCI layout in %s", dir)
	}
	if err != nil {
		return err
	}
	for _, index := range indexes {
		if err := pushLayout(ctx, os.DirFS(filepath.Dir(index))); err != nil {
			return fmt.Errorf("push %s: %w", filepath.Dir(index), err)
		}
	}
	return nil
}

// pushLayout pushes one layout. The tag of the image comes last: a client that finds the image by
// it finds its signature, too.
func pushLayout(ctx context.Context, layout fs.FS) error {
	content, err := fs.ReadFile(layout, ociv1.ImageIndexFile)
	if err != nil {
		return err
	}
	var index ociv1.Index
	if err := json.Unmarshal(content, &index); err != nil {
		return err
	}
	if len(index.Manifests) == 0 {
		return fmt.Errorf("%s is empty", ociv1.ImageIndexFile)
	}
	image, attached := index.Manifests[0], index.Manifests[1:]
	reference, err := registry.ParseReference(image.Annotations[ociv1.AnnotationRefName])
	if err != nil {
		return err
	}
	from, err := oci.NewFromFS(ctx, layout)
	if err != nil {
		return err
	}
	to, err := repositoryOf(reference)
	if err != nil {
		return err
	}
	if err := oras.CopyGraph(ctx, from, to, image, oras.DefaultCopyGraphOptions); err != nil {
		return err
	}
	for _, artifact := range attached {
		if err := oras.CopyGraph(ctx, from, to, artifact, oras.DefaultCopyGraphOptions); err != nil {
			return err
		}
		if err := tagSignature(ctx, from, to, artifact); err != nil {
			return err
		}
	}
	if err := to.Tag(ctx, image, reference.Reference); err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", reference, image.Digest)
	return nil
}

// tagSignature gives a signature the tag by which cosign finds it.
func tagSignature(ctx context.Context, from *oci.ReadOnlyStore, to *remote.Repository, artifact ociv1.Descriptor) error {
	if artifact.ArtifactType != sign.ArtifactType {
		return nil
	}
	r, err := from.Fetch(ctx, artifact)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	var manifest ociv1.Manifest
	if err := json.NewDecoder(r).Decode(&manifest); err != nil {
		return err
	}
	return to.Tag(ctx, artifact, sign.Tag(manifest.Subject.Digest))
}

// repositoryOf returns a repository of a registry, with the credentials of `docker login`. A
// registry on loopback speaks plain HTTP, as for docker.
func repositoryOf(reference registry.Reference) (*remote.Repository, error) {
	to, err := remote.NewRepository(reference.Registry + "/" + reference.Repository)
	if err != nil {
		return nil, err
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(reference.Registry)
	if err != nil { // without a port
		host = reference.Registry
	}
	ip := net.ParseIP(host)
	to.PlainHTTP = host == "localhost" || ip != nil && ip.IsLoopback()
	to.SkipReferrersGC = true // not every registry can delete
	to.Client = &auth.Client{Client: retry.DefaultClient, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	return to, nil
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Images makes the container images of Fairlead, without a container engine:
//
//	images build DIRECTORY KIND=REFERENCE...   write OCI layouts, each for all platforms
//	images push DIRECTORY                      push such layouts, with all that is attached, to where they are named
//	images files KIND ARCHITECTURE DIRECTORY   write the files of one image, for a Dockerfile
//	images lab DIRECTORY [NAME...]             write layouts of the lab's images, for this machine, of programs that are in bin
//	images lock                                write the lock files of Debian packages anew
//
// The kinds are controller, agent and bundle. The same commit and the same version of Go give the
// same digests, in any folder and on any machine. With SIGNING_KEY, a PEM file with an ECDSA key
// (P-256), the images are signed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/fairlead-proxy/fairlead/hack/images/sign"
)

func main() {
	sources := flag.String("sources", "../..", "the checkout")
	version := flag.String("version", "", "the version of the images, such as v0.1.0")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *sources, *version, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// errUsage is returned for arguments that are not those of the command's comment.
var errUsage = errors.New("usage: images -version VERSION build DIRECTORY KIND=REFERENCE... | files KIND ARCHITECTURE DIRECTORY; images push DIRECTORY; images lab DIRECTORY [NAME...]; images lock")

func run(ctx context.Context, dir, version string, args []string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if len(args) == 1 && args[0] == "lock" {
		return refresh(ctx, dir)
	}
	if len(args) == 2 && args[0] == "push" {
		return push(ctx, args[1])
	}
	if len(args) >= 2 && args[0] == "lab" {
		b := labBuild{source: source{dir: dir}, arch: runtime.GOARCH, built: filepath.Join(dir, "bin")}
		return lab(ctx, b, args[1], args[2:])
	}
	if len(args) < 3 || version == "" {
		return errUsage
	}
	switch {
	case args[0] == "build":
		key, err := signingKey()
		if err != nil {
			return err
		}
		s, err := checkout(ctx, dir, version)
		if err != nil {
			return err
		}
		return build(ctx, s, key, args[1], args[2:])
	case args[0] == "files" && len(args) == 4: // they have no times
		return files(ctx, source{dir: dir, version: version}, args[1], args[2], args[3])
	}
	return errUsage
}

// signingKey reads the key that SIGNING_KEY names. It is nil without one.
func signingKey() (*sign.Key, error) {
	file := os.Getenv("SIGNING_KEY")
	if file == "" {
		return nil, nil
	}
	key, err := sign.ReadKey(file)
	if err != nil {
		return nil, fmt.Errorf("SIGNING_KEY: %w", err)
	}
	return key, nil
}

// build makes the images of a list of KIND=REFERENCE, and prints their digests.
func build(ctx context.Context, s source, key *sign.Key, out string, list []string) error {
	for _, each := range list {
		name, reference, _ := strings.Cut(each, "=")
		k, err := kindOf(name)
		if err != nil {
			return err
		}
		reference = fullName(reference)
		index, err := k.build(ctx, s, key, reference, filepath.Join(out, name))
		if err != nil {
			return err
		}
		fmt.Printf("%s@%s\n", reference, index.Digest)
	}
	return nil
}

// fullName adds the registry that clients add to a short name: containerd takes the name of
// an imported image as it is, and kubelet looks for the full one.
func fullName(reference string) string {
	host, _, slash := strings.Cut(reference, "/")
	switch {
	case !slash:
		return "docker.io/library/" + reference
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + reference
	}
	return reference
}

// repository returns a full name without its tag.
func repository(reference string) string {
	if colon := strings.LastIndexByte(reference, ':'); colon > strings.LastIndexByte(reference, '/') {
		return reference[:colon]
	}
	return reference
}

// files writes the files of an image for an architecture.
func files(ctx context.Context, s source, name, arch, dir string) error {
	k, err := kindOf(name)
	if err != nil {
		return err
	}
	c, err := k.make(ctx, s, arch)
	if err != nil {
		return err
	}
	for _, layer := range c.layers {
		if err := layer.Files.Write(dir); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(name string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, fmt.Errorf("there is no image %q", name)
	}
	return kinds[i], nil
}

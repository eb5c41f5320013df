// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// imageField matches the image of a container, in manifests.
var imageField = regexp.MustCompile(`(?m)^ +image: (\S+)$`)

// The manifests of a release name the images that belong to it by their digests. Images and
// checksums are signed if there is a key.
func TestRelease(t *testing.T) {
	dir, keys := t.TempDir(), t.TempDir()
	command := func(env string, args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	key, public := filepath.Join(keys, "key.pem"), filepath.Join(keys, "public.pem")
	command("", "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
	command("", "openssl", "ec", "-in", key, "-pubout", "-out", public)
	release := []string{filepath.Join(checkoutDir(), "hack/release.sh"), filepath.Join(checkoutDir(), "bin/kustomize"), "default", testVersion,
		"registry.example/a/controller:" + testVersion, "registry.example/a/agent:" + testVersion, "registry.example/a/bundle:" + testVersion, dir}
	// The plugin for this platform only: the others take minutes to build.
	t.Setenv("PLUGIN_PLATFORMS", runtime.GOOS+"/"+runtime.GOARCH)
	command("SIGNING_KEY="+key, release...)

	want := map[string]string{} // the images' names, with digests
	for _, k := range kinds {
		l := readLayout(t, filepath.Join(dir, "images", k.name))
		want[k.name] = fmt.Sprintf("registry.example/a/%s:%s@%s", k.name, testVersion, l.named.Digest)
	}
	if diff := cmp.Diff([]string{want["controller"], want["agent"], want["bundle"]}, lines(t, dir, "images.txt")); diff != "" {
		t.Errorf("images.txt (-want +got):\n%s", diff)
	}
	var got []string
	for _, m := range imageField.FindAllStringSubmatch(string(readFile(t, filepath.Join(dir, "install.yaml"))), -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{want["agent"], want["controller"]}, got); diff != "" {
		t.Errorf("images in install.yaml (-want +got):\n%s", diff)
	}
	var sums []string
	archive := "kubectl-fairlead_" + testVersion + "_" + runtime.GOOS + "_" + runtime.GOARCH + ".tar.gz"
	for _, name := range []string{"images.txt", "install.yaml", "fairlead.yaml", archive} {
		sums = append(sums, fmt.Sprintf("%x  %s", sha256.Sum256(readFile(t, filepath.Join(dir, name))), name))
	}
	if diff := cmp.Diff(sums, lines(t, dir, "SHA256SUMS")); diff != "" {
		t.Errorf("checksums (-want +got):\n%s", diff)
	}
	command("", "sh", "-c", `base64 -d SHA256SUMS.sig >"$1/signature" && openssl dgst -sha256 -verify "$2" -signature "$1/signature" SHA256SUMS`,
		"sh", keys, public)

	for _, k := range kinds {
		l := readLayout(t, filepath.Join(dir, "images", k.name))
		if len(l.signatures) != 1+len(platforms) || l.signatures[l.named.Digest].Subject == nil {
			t.Errorf("the layout of %s has %d signatures", k.name, len(l.signatures))
		}
	}

	unusable := exec.Command(release[0], release[1:]...)
	unusable.Env = append(os.Environ(), "SIGNING_KEY="+public)
	if out, err := unusable.CombinedOutput(); err == nil || !strings.Contains(string(out), "SIGNING_KEY: ") {
		t.Errorf("with a public key the release ends with %v: %s", err, out)
	}

	command("SIGNING_KEY=", release...)
	for _, k := range kinds {
		if l := readLayout(t, filepath.Join(dir, "images", k.name)); len(l.signatures) > 0 {
			t.Errorf("the layout of %s has signatures of another release", k.name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "SHA256SUMS.sig")); err == nil {
		t.Error("a signature of another release is left")
	}
}

func lines(t *testing.T, dir, name string) []string {
	t.Helper()
	return strings.Split(strings.TrimRight(string(readFile(t, filepath.Join(dir, name))), "\n"), "\n")
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// version is the one of the release in the test.
const version = "v9.8.7"

// TestPlugin makes what a release has of the plugin, for this platform only: the others take minutes to build.
func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "PLUGIN_PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	run(filepath.Join("..", "..", "hack", "plugin.sh"), version, dir)
	archive := "kubectl-fairlead_" + version + "_" + runtime.GOOS + "_" + runtime.GOARCH + ".tar.gz"
	wantPlugin(t, dir, archive)
	run("tar", "-C", dir, "-xzf", filepath.Join(dir, archive))
	if got := run(filepath.Join(dir, "kubectl-fairlead"), "--version"); !strings.Contains(got, version) {
		t.Errorf("the plugin is of %s", got)
	}
}

// wantPlugin checks the manifest with which krew installs the plugin: the fields that krew requires, and the archive's checksum.
func wantPlugin(t *testing.T, dir, archive string) {
	t.Helper()
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	type labels struct {
		MatchLabels map[string]string `json:"matchLabels"`
	}
	type file struct{ From, To string }
	type platform struct {
		Selector         labels
		URI, SHA256, Bin string
		Files            []file
	}
	type spec struct {
		Version, Homepage, ShortDescription, Description string
		Platforms                                        []platform
	}
	var got struct {
		APIVersion, Kind string
		Metadata         map[string]string
		Spec             spec
	}
	if err := yaml.UnmarshalStrict(read("fairlead.yaml"), &got); err != nil {
		t.Fatal(err)
	}
	want := platform{
		Selector: labels{map[string]string{"os": runtime.GOOS, "arch": runtime.GOARCH}}, Bin: "kubectl-fairlead",
		URI:    "https://github.com/fairlead-proxy/fairlead/releases/download/" + version + "/" + archive,
		SHA256: fmt.Sprintf("%x", sha256.Sum256(read(archive))),
		Files:  []file{{"kubectl-fairlead", "."}, {"LICENSE", "."}},
	}
	if diff := cmp.Diff([]platform{want}, got.Spec.Platforms); diff != "" {
		t.Errorf("platforms of the plugin (-want +got):\n%s", diff)
	}
	// krew refuses a name that is not the file's, and a version without v; its index a long description.
	if got.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || got.Kind != "Plugin" || got.Metadata["name"] != "fairlead" ||
		got.Spec.Version != version || !strings.HasPrefix(version, "v") || got.Spec.ShortDescription == "" || len(got.Spec.ShortDescription) > 50 {
		t.Errorf("the plugin's manifest is %+v", got)
	}
}

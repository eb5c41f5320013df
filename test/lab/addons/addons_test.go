// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package addons

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestManifestsAreWhole(t *testing.T) {
	objects, err := load(manifests, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, object := range objects {
		got = append(got, object.GetKind()+" "+object.GetName())
	}
	want := []string{
		"ServiceAccount coredns", "ClusterRole system:coredns", "ClusterRoleBinding system:coredns",
		"ConfigMap coredns", "Service kube-dns", "Deployment coredns",
		"Namespace fairlead-system", "ConfigMap fairlead-apiserver",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestLoadNamesTheBrokenFile(t *testing.T) {
	_, err := load(fstest.MapFS{"odd.yaml": {Data: []byte("a: [")}}, "*.yaml")
	if err == nil || !strings.HasPrefix(err.Error(), "odd.yaml:") {
		t.Errorf("error %v, want one that names odd.yaml", err)
	}
}

// TestCoreDNSIsTheOneOfTheLab: a node pulls an image without a tag again and again, and the tag says what runs.
func TestCoreDNSIsTheOneOfTheLab(t *testing.T) {
	module, err := os.ReadFile("../../controlplane/coredns/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile("coredns.yaml")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^require github.com/coredns/coredns (\S+)`).FindSubmatch(module)
	image := regexp.MustCompile(`(?m)image: registry.k8s.io/coredns/coredns:(\S+)$`).FindSubmatch(manifest)
	if version == nil || image == nil || string(version[1]) != string(image[1]) {
		t.Errorf("the image has the tag %q, the program is %q", image, version)
	}
}

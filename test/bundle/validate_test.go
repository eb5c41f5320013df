// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bundle validates the operator bundle with OLM's own code, as
// `operator-sdk bundle validate --select-optional suite=operatorframework` does.
// It is a module of its own because of what that code needs. Checks that need
// nothing of it are in hack/bundle.
package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
)

// root is the bundle that is in the repository.
var root = filepath.Join("..", "..", "bundle")

// csvFile holds the ClusterServiceVersion.
const csvFile = "manifests/fairlead.clusterserviceversion.yaml"

// accepted are warnings that we can live with: objects of these kinds are
// written by controller and agents, an example would only mislead.
var accepted = []string{
	"proxy.fairlead.dev/v1alpha1, Kind=NodeHeartbeat: provided API should have an example annotation",
	"proxy.fairlead.dev/v1alpha1, Kind=NodeRuleSet: provided API should have an example annotation",
	"proxy.fairlead.dev/v1alpha1, Kind=ProxyRollout: provided API should have an example annotation",
	"proxy.fairlead.dev/v1alpha1, Kind=ServiceRuleSlice: provided API should have an example annotation",
}

// validate returns the errors and warnings about the bundle in a folder.
func validate(t *testing.T, dir string) []string {
	t.Helper()
	bundle, err := manifests.GetBundleFromDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	validators := validation.DefaultBundleValidators.WithValidators(
		validation.OperatorHubV2Validator,
		validation.StandardCapabilitiesValidator,
		validation.StandardCategoriesValidator,
		validation.GoodPracticesValidator,
		validation.AlphaDeprecatedAPIsValidator,
		validation.ObjectValidator,
	)
	var out []string
	for _, result := range validators.Validate(bundle.ObjectsToValidate()...) {
		for _, e := range slices.Concat(result.Errors, result.Warnings) {
			out = append(out, e.Error())
		}
	}
	return out
}

func TestBundle(t *testing.T) {
	for _, got := range validate(t, root) {
		if !slices.ContainsFunc(accepted, func(a string) bool { return strings.Contains(got, a) }) {
			t.Error(got)
		}
	}
}

// TestRefused checks that the validators run, each kind of them.
func TestRefused(t *testing.T) {
	cases := map[string]struct{ file, old, new, want string }{
		"install modes":   {csvFile, "  - supported: true\n", "  - supported: false\n", "none of InstallModeTypes"},
		"kube version":    {csvFile, "minKubeVersion: 1.32.0", "minKubeVersion: new", "MinKubeVersion"},
		"owned CRD":       {csvFile, "kind: ProxyConfig\n", "kind: Other\n", "Kind=Other"},
		"maintainer":      {csvFile, "email: maintainers@fairlead.dev", "email: none", "none"},
		"capability":      {csvFile, "capabilities: Basic Install", "capabilities: Magic", "Magic"},
		"category":        {csvFile, "categories: Networking", "categories: Magic", "Magic"},
		"channel":         {"metadata/annotations.yaml", "channels.v1: candidate", "channels.v1: wild", "wild"},
		"requests":        {csvFile, "requests:\n", "limits:\n", "resource requests"},
		"service account": {"manifests/fairlead-agent_v1_serviceaccount.yaml", "name: fairlead-agent", "name: fairlead-controller-manager", "fairlead-controller-manager"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(root)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, tc.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.ReplaceAll(string(text), tc.old, tc.new)
			if broken == string(text) {
				t.Fatalf("no %q in %s", tc.old, tc.file)
			}
			if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(validate(t, dir), "\n")
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want something about %q", got, tc.want)
			}
		})
	}
}

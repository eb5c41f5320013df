// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upgrade

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// namespace is Fairlead's.
const namespace = "fairlead-system"

// release is what a user installs.
type release struct {
	// dir has the files, manifests are what kubectl applies.
	dir, manifests string
	// suffix is that of the images' names.
	suffix string
}

var (
	previous = release{filepath.Join(labtest.Repo, "bin/previous"), filepath.Join(labtest.Repo, "bin/previous"), "-previous"}
	current  = release{dir: labtest.Repo, manifests: filepath.Join(labtest.Repo, "config/default")}
)

// install installs a release and a policy where there is none.
func (r release) install(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "-k", r.manifests)
	kubectl(t, "apply", "-f", filepath.Join(r.dir, "config/samples/proxyconfig.yaml"))
	kubectl(t, "patch", "proxyconfig/default", "--type=merge", "--patch",
		`{"spec": {"deletionPolicy": "Keep", "rollout": {"strategy": "AllAtOnce"}}}`)
	r.running(t)
}

// replace puts a release in the place of the one that is installed.
func (r release) replace(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "-k", r.manifests)
	r.running(t)
}

// running waits until controllers and agents are of this release, and no others, and report that the nodes are programmed.
func (r release) running(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", namespace, "rollout", "status", "deployment/fairlead-controller-manager", "--timeout=3m")
	kubectl(t, "-n", namespace, "rollout", "status", "daemonset/fairlead-agent", "--timeout=3m")
	for component, want := range map[string]int{"controller": 2, "agent": config.Nodes} {
		eventually(t, func() error { return r.pods(t, component, want) })
	}
	kubectl(t, "wait", "proxyconfig/default", "--for=condition=Available", "--timeout=90s")
	kubectl(t, "wait", "proxyconfig/default", "--for=condition=Protected", "--timeout=90s")
	eventually(t, func() error { return programmed(t) })
}

// pods checks that a component has so many Pods, all of this release.
func (r release) pods(t *testing.T, component string, want int) error {
	var pods corev1.PodList
	if err := api.List(t.Context(), &pods, client.InNamespace(namespace),
		client.MatchingLabels{"app.kubernetes.io/component": component}); err != nil {
		return err
	}
	if len(pods.Items) != want {
		return fmt.Errorf("%d Pods of the %s, want %d", len(pods.Items), component, want)
	}
	program := "fairlead-" + component
	version, err := exec.Command(filepath.Join(r.dir, "bin", program), "--version").Output()
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		if image, _, _ := strings.Cut(pod.Spec.Containers[0].Image, ":"); image != program+r.suffix {
			return fmt.Errorf("%s has the image %s, want %s", pod.Name, image, program+r.suffix)
		}
		got, err := exec.Command("kubectl", "-n", namespace, "exec", pod.Name, "--", "/"+program, "--version").Output()
		if err != nil || string(got) != string(version) {
			return fmt.Errorf("%s runs version %q, %w, want %q", pod.Name, got, err, version)
		}
	}
	return nil
}

// programmed checks what the agents report.
func programmed(t *testing.T) error {
	var sets v1alpha1.NodeRuleSetList
	if err := api.List(t.Context(), &sets); err != nil {
		return err
	}
	if len(sets.Items) != config.Nodes {
		return fmt.Errorf("%d of %d nodes have a policy", len(sets.Items), config.Nodes)
	}
	for _, set := range sets.Items {
		if set.Status.ObservedGeneration != set.Generation || set.Status.Mode != v1alpha1.ModeNFTables ||
			!meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed) ||
			!meta.IsStatusConditionFalse(set.Status.Conditions, v1alpha1.ConditionDegraded) {
			return fmt.Errorf("%s, generation %d, reports %+v", set.Name, set.Generation, set.Status)
		}
	}
	return nil
}

// uninstall removes Fairlead, and waits until nothing of it is in the API.
func uninstall(t *testing.T) {
	t.Helper()
	undeploy := exec.Command("hack/undeploy.sh")
	undeploy.Dir = labtest.Repo
	if out, err := undeploy.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, func() error {
		for _, err := range []error{
			api.Get(t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{}),
			api.List(t.Context(), &v1alpha1.ProxyConfigList{}), api.List(t.Context(), &v1alpha1.NodeRuleSetList{}),
			api.List(t.Context(), &v1alpha1.ServiceRuleSliceList{}),
		} {
			if err == nil {
				return errors.New("the namespace or a kind is still there")
			}
			if !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
				return err
			}
		}
		return nil
	})
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/diff"
	"github.com/fairlead-proxy/fairlead/kubectl/explain"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
	"github.com/fairlead-proxy/fairlead/kubectl/status"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// fairlead runs the plugin, and returns its exit code and what it has printed.
func fairlead(ctx context.Context, args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "bin", "kubectl-fairlead"), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return -1, "", err.Error()
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// answers runs the plugin with -o json, and returns an error unless it exits with a code.
func answers(ctx context.Context, want int, into any, args ...string) error {
	code, out, errOut := fairlead(ctx, append(args, "-o", "json")...)
	if code != want {
		return fmt.Errorf("kubectl fairlead %s exits with %d, want %d: %s%s", strings.Join(args, " "), code, want, errOut, out)
	}
	return json.Unmarshal([]byte(out), into)
}

// TestKubectl runs the plugin as a user does. What it says of a node's kernel is what the kernel has.
func TestKubectl(t *testing.T) {
	const node = "node-2"
	service := newEcho(t, newNamespace(t), 2)
	waited := make(chan string, 1)
	go func() { // a node reports its rules once a minute
		code, out, errOut := fairlead(t.Context(), "wait", "echo", "-n", service.Namespace, "--timeout", "3m")
		waited <- fmt.Sprint(code, " ", out, errOut)
	}()
	var endpoints []string
	eventually(t, time.Minute, func() error { // all kernels have the Service
		var r explain.Report
		if err := answers(t.Context(), 0, &r, "explain", "echo", "-n", service.Namespace, "--kernel"); err != nil {
			return err
		}
		if len(r.Nodes) != 1 || len(r.Nodes[0].Names) != len(labNodes) || len(r.Nodes[0].Frontends) != 1 || r.Nodes[0].Frontends[0].Kernel == nil {
			return fmt.Errorf("explain: %+v", r)
		}
		f := r.Nodes[0].Frontends[0]
		endpoints = nil
		for _, e := range f.Endpoints {
			endpoints = append(endpoints, e.Address)
		}
		slices.Sort(endpoints)
		if len(endpoints) != 2 || !f.Kernel.Present || !f.Kernel.Equal {
			return fmt.Errorf("explain: endpoints %v, kernel %+v", endpoints, *f.Kernel)
		}
		return nil
	})
	eventually(t, time.Minute, func() error {
		var r inspection.Report
		if err := answers(t.Context(), 0, &r, "rules", node, "echo:tcp", "-n", service.Namespace); err != nil {
			return err
		}
		if len(r.Frontends) != 1 || !r.Frontends[0].Equal || r.Frontends[0].Internal == nil || !slices.Equal(r.Frontends[0].Internal.Endpoints, endpoints) {
			return fmt.Errorf("rules: %+v, want the endpoints %v", r, endpoints)
		}
		return nil
	})
	observes(t, node, service, endpoints)
	var state status.Report
	eventually(t, time.Minute, func() error { return answers(t.Context(), 0, &state, "status") })
	if len(state.Nodes) != len(labNodes) {
		t.Errorf("status has %d nodes", len(state.Nodes))
	}
	if code, out, errOut := fairlead(t.Context(), "check", "--kernel"); code == 2 || !strings.Contains(out, "√ nodes are programmed and not degraded") ||
		!strings.Contains(out, "√ you may look into the kernels") || !strings.Contains(out, "√ connection tracking has room") {
		t.Errorf("check exits with %d: %s%s", code, errOut, out)
	}
	previews(t)
	bundles(t)
	wantNoDrift(t)
	drifts(t, node, service.Spec.ClusterIP)
	rights(t, node)
	if got := <-waited; !strings.HasPrefix(got, "0 ") {
		t.Errorf("wait: %s", got)
	}
}

// bundles checks that an administrator gets all parts of a support archive.
func bundles(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if code, out, errOut := fairlead(t.Context(), "bundle", "-o", file); code != 0 || !strings.Contains(out, "wrote "+file) {
		t.Fatalf("bundle exits with %d: %s%s", code, errOut, out)
	}
	list, err := exec.CommandContext(t.Context(), "tar", "-xzOf", file, "fairlead-bundle/index.txt").Output()
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]int{"check.txt": 1, "drift.txt": 1, "cluster/events.yaml": 1, "/agent.log": len(labNodes), "\nmetrics/": len(labNodes), "errors.txt": 0} {
		if got := strings.Count(string(list), part); got != want {
			t.Errorf("the archive has %d of %q, want %d:\n%s", got, part, want, list)
		}
	}
	if t.Failed() {
		faults, err := exec.CommandContext(t.Context(), "tar", "-xzOf", file, "fairlead-bundle/errors.txt").CombinedOutput()
		t.Logf("errors.txt: %v %s", err, faults)
	}
}

// previews checks that another mode would be a change of all nodes, and that nothing is written for that.
func previews(t *testing.T) {
	t.Helper()
	var before, after v1alpha1.ProxyConfig
	get := func(into *v1alpha1.ProxyConfig) {
		t.Helper()
		if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, into); err != nil {
			t.Fatal(err)
		}
	}
	get(&before)
	changed := v1alpha1.ProxyConfig{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ProxyConfig"},
		ObjectMeta: metav1.ObjectMeta{Name: before.Name}, Spec: *before.Spec.DeepCopy()}
	changed.Spec.Mode, changed.Spec.FallbackModes = v1alpha1.ModeIPTables, nil
	text, err := json.Marshal(&changed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "proxyconfig.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var d diff.Report
	if err := answers(t.Context(), 1, &d, "diff", "-f", file); err != nil {
		t.Error(err)
	} else if len(d.Groups) != 1 || !slices.Equal(d.Groups[0].Nodes, labNodes) || d.Groups[0].Will != v1alpha1.ModeIPTables {
		t.Errorf("diff: %+v", d)
	}
	get(&after)
	if before.Generation != after.Generation {
		t.Error("diff has changed the ProxyConfig")
	}
}

// wantNoDrift waits until all kernels are as desired.
func wantNoDrift(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		var d kernel.Drift
		if err := answers(t.Context(), 0, &d, "drift"); err != nil {
			return err
		}
		if len(d.Nodes) != len(labNodes) || d.Has(kernel.NoMode) {
			return fmt.Errorf("drift: %+v", d)
		}
		return nil
	})
}

// drifts takes an element away from a node again and again, faster than the agent repairs it, until
// drift shows that. Afterwards there is none.
func drifts(t *testing.T, node, vip string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			// It fails while the element is not there yet.
			_, _ = inNode(node, "nft", "delete", "element", "ip", "fairlead", "cluster-ips", "{ "+vip+" }")
		}
	}()
	err := labtest.Eventually(t.Context(), 2*time.Minute, func() error {
		var d kernel.Drift
		if err := answers(t.Context(), 1, &d, "drift", node, "node-1"); err != nil {
			return err
		}
		for _, n := range d.Nodes {
			if (n.Name == node) != (n.State == kernel.Differs) || n.Name == node && (len(n.Differences) != 1 || n.Differences[0].Problem != inspection.Missing ||
				n.Differences[0].Object != "element ip fairlead cluster-ips "+vip) {
				return fmt.Errorf("drift of %s: %+v", n.Name, n)
			}
		}
		return nil
	})
	stop()
	<-stopped
	if err != nil {
		t.Error(err)
	}
	wantNoDrift(t)
}

// rights checks that config/inspector is what a user needs to look into a kernel.
func rights(t *testing.T, node string) {
	t.Helper()
	const user = "inspector"
	kubectl := func(args ...string) {
		t.Helper()
		if err := labtest.Command("kubectl", args...); err != nil {
			t.Fatal(err)
		}
	}
	rules := []string{"rules", node, "--as", user}
	if code, _, errOut := fairlead(t.Context(), rules...); code != 2 || !strings.Contains(errOut, "forbidden") {
		t.Errorf("without the Role: exits with %d: %s", code, errOut)
	}
	folder := filepath.Join(repo, "config", "inspector")
	kubectl("apply", "--server-side", "-k", folder)
	t.Cleanup(func() {
		if err := errors.Join(labtest.Command("kubectl", "delete", "-k", folder),
			labtest.Command("kubectl", "delete", "rolebinding", "-n", "fairlead-system", user)); err != nil {
			t.Error(err)
		}
	})
	kubectl("create", "rolebinding", "-n", "fairlead-system", user, "--role=fairlead-inspector-role", "--user="+user)
	eventually(t, time.Minute, func() error { return answers(t.Context(), 0, new(inspection.Report), rules...) })
}

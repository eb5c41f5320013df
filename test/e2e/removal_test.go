// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// generator asks Services.
type generator struct{ *traffic.Generator }

func startTraffic(t *testing.T, nodes []string, services []*corev1.Service) generator {
	load := traffic.Load{Rate: 450}
	for _, node := range nodes {
		load.Sources = append(load.Sources, source(node))
	}
	for _, svc := range services {
		load.Targets = append(load.Targets, clusterIP(svc, 0, 0))
	}
	running := generator{traffic.Start(load)}
	t.Cleanup(running.Stop)
	return running
}

// wantNoFailures checks what was asked until now, and forgets it.
func (g generator) wantNoFailures(t *testing.T, during string) {
	t.Helper()
	records := g.Take()
	failed := slices.DeleteFunc(slices.Clone(records), func(r traffic.Record) bool { return r.Err == nil })
	t.Logf("%s: %d connections, %d failed", during, len(records), len(failed))
	if len(failed) > 0 {
		t.Errorf("%s: %d of %d connections failed, the first: from %s to %s: %v",
			during, len(failed), len(records), failed[0].From, failed[0].To.Service, failed[0].Err)
	}
}

// TestNothingTakesServicesAway deletes everything of Fairlead in the API, in turn, under traffic.
func TestNothingTakesServicesAway(t *testing.T) {
	const count = 20
	crds := filepath.Join(repo, "config", "crd", "bases")
	namespace := newNamespace(t)
	services := []*corev1.Service{newEcho(t, namespace, 3)}
	for i := range count - 1 {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("echo-%02d", i)},
			Spec: corev1.ServiceSpec{Selector: services[0].Spec.Selector, Ports: services[0].Spec.Ports}}
		svc.Spec.Ports[0].NodePort = 0
		if err := api.Create(t.Context(), svc); err != nil {
			t.Fatal(err)
		}
		services = append(services, svc)
	}
	nodes := labNodes
	for _, node := range nodes {
		for _, svc := range services {
			eventually(t, time.Minute, func() error { return ask(node, svc.Spec.ClusterIP, echoPort) })
		}
	}
	restored := func() {
		t.Helper()
		eventually(t, 2*time.Minute, func() error {
			var list v1alpha1.ServiceRuleSliceList
			err := api.List(t.Context(), &list, client.MatchingLabels{v1alpha1.LabelServiceNamespace: namespace})
			if err == nil && len(list.Items) < count {
				err = fmt.Errorf("%d slices, want %d", len(list.Items), count)
			}
			return err
		})
	}
	run := func(args ...string) {
		t.Helper()
		if err := labtest.Command("kubectl", args...); err != nil {
			t.Fatal(err)
		}
	}
	addresses := apiserverAddresses(t)
	tr := startTraffic(t, nodes, services)

	run("delete", "servicerules", "--all")
	restored()
	tr.wantNoFailures(t, "all slices are deleted")

	run("delete", "crd", "serviceruleslices.proxy.fairlead.dev")
	run("apply", "--server-side", "-f", crds)
	restored()
	tr.wantNoFailures(t, "the CRD is deleted and made again")

	run("delete", "-k", filepath.Join(repo, "config", "default"), "--timeout=2m")
	eventually(t, time.Minute, func() error {
		for _, node := range nodes {
			if pid, err := agentPID(node); err == nil {
				return fmt.Errorf("the agent of %s still runs: %d", node, pid)
			}
		}
		return nil
	})
	time.Sleep(time.Second) // of traffic without agents
	tr.wantNoFailures(t, "Fairlead is uninstalled")

	if err := putAddresses(addresses); err != nil {
		t.Fatal(err)
	}
	run("apply", "--server-side", "-k", filepath.Join(repo, "config", "default"))
	run("apply", "-f", filepath.Join(repo, "config", "samples", "proxyconfig.yaml"))
	run("patch", "proxyconfig/default", "--type=merge", "--patch", `{"spec": {`+atOnce+`}}`)
	run("wait", "proxyconfig/default", "--for=condition=Available", "--timeout=90s")
	restored()
	tr.Stop()
	tr.wantNoFailures(t, "Fairlead is installed again")
}

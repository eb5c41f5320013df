// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestExternalIPs checks that no Service gets an address of a node, of the apiserver or of
// the Service network as an external IP, with an event, and that an address which a policy
// denies is reported.
func TestExternalIPs(t *testing.T) {
	machine := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	machine.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "default", Generation: 1}, Mode: v1alpha1.ModeNFTables,
		Node: v1alpha1.NodeFacts{Zone: "a"}, ServiceCIDRs: []string{serviceRange},
		ExternalIPs: v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: []string{"198.51.100.0/25"}},
	}}
	create(t, machine, set)
	key := client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}
	kubernetes, servers := &corev1.Service{}, &discoveryv1.EndpointSlice{}
	if err := errors.Join(api.Get(t.Context(), key, kubernetes), api.Get(t.Context(), key, servers)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		ip, event string
		kept      bool
	}{
		"outside":            {"198.51.100.1", "", true},
		"of a node":          {"192.0.2.7", "192.0.2.7 is an address of node n1", false},
		"of a Service":       {kubernetes.Spec.ClusterIP, "is in the ServiceCIDR", false},
		"denied by a policy": {"198.51.100.200", "198.51.100.200 is not programmed on nodes of the ProxyConfig default", true},
		"of the apiserver":   {servers.Endpoints[0].Addresses[0], "is an address of the apiserver", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServices(t)
			svc := s.service()
			svc.Spec.ExternalIPs = []string{tc.ip}
			create(t, svc)
			s.reconcile()
			for slice, written := range s.slices() {
				if kept := len(written.Spec.ExternalIPs) > 0; kept != tc.kept {
					t.Errorf("%s: external IPs %v", slice, written.Spec.ExternalIPs)
				}
			}
			if tc.event == "" {
				wantNoEvent(t, s.recorder)
				return
			}
			select {
			case got := <-s.recorder.Events:
				if !strings.Contains(got, tc.event) {
					t.Errorf("event %q, want %q", got, tc.event)
				}
			default:
				t.Errorf("no event, want %q", tc.event)
			}
		})
	}
}

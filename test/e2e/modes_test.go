// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/userspace"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// labNodes are the nodes of the lab.
var labNodes = []string{"node-1", "node-2", "node-3"}

// TestModes changes the mode of all nodes from each to each other. New connections are
// always answered, and nothing of the previous mode stays: a node looks the same each
// time it is in a mode.
func TestModes(t *testing.T) {
	service := newEcho(t, newNamespace(t), 3, func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		// A privileged port.
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "low", Port: 80, TargetPort: intstr.FromInt32(echoPort)})
	})
	// CoreDNS watches the API through a Service, and the address of an open connection stays.
	scale(t.Context(), t, "kube-system", "coredns", 0)
	t.Cleanup(func() { scale(context.Background(), t, "kube-system", "coredns", 2) })
	eventually(t, time.Minute, func() error {
		return errors.Join(served(t.Context(), "kube-system", "coredns", "kube-dns"),
			served(t.Context(), service.Namespace, "echo", "echo"), previousTestsGone(t.Context(), service.Namespace))
	})
	t.Cleanup(func() { setMode(context.Background(), t, v1alpha1.ModeAuto) })
	looked := map[v1alpha1.ProxyMode]map[string][]string{}
	for _, mode := range []v1alpha1.ProxyMode{
		v1alpha1.ModeNFTables, v1alpha1.ModeIPTables, v1alpha1.ModeUserspace,
		v1alpha1.ModeNFTables, v1alpha1.ModeUserspace, v1alpha1.ModeIPTables, v1alpha1.ModeNFTables,
	} {
		t.Logf("to %s", mode)
		fromOutside := knock(t, "client", "10.89.0.12", service.Spec.Ports[0].NodePort)
		fromNode := knock(t, "node-1", service.Spec.ClusterIP, service.Spec.Ports[1].Port)
		setMode(t.Context(), t, mode)
		for _, node := range labNodes {
			wantMode(t, node, mode)
			for _, port := range service.Spec.Ports {
				if err := ask(node, service.Spec.ClusterIP, port.Port); err != nil {
					t.Errorf("in %s, on %s: %v", mode, node, err)
				}
			}
			eventually(t, time.Minute, func() error { return onlyTracesOf(mode, node) })
		}
		if looked[mode] == nil && mode != v1alpha1.ModeUserspace { // which cannot be inspected
			wantNoDrift(t)
		}
		if err := errors.Join(fromOutside(), fromNode()); err != nil {
			t.Errorf("a new connection while the mode changed to %s: %v", mode, err)
		}
		if looked[mode] == nil && mode == v1alpha1.ModeUserspace { // the agent says where connections go, and else the kernel
			endpoints, err := endpointsOf(t.Context(), service)
			if err != nil {
				t.Fatal(err)
			}
			observes(t, "node-2", service, endpoints)
		}
		now := map[string][]string{}
		for _, node := range labNodes {
			if looked[mode] == nil {
				now[node] = look(t, node)
				continue
			}
			eventually(t, 10*time.Second, func() error {
				before, after := looked[mode][node], look(t, node)
				if slices.Equal(before, after) {
					return nil
				}
				return fmt.Errorf("in %s, %s does not look as before:\nonly before: %q\nonly now: %q",
					mode, node, without(before, after), without(after, before))
			})
		}
		if looked[mode] == nil {
			looked[mode] = now
		}
	}
}

// endpointsOf returns addresses and ports of the echo's endpoints.
func endpointsOf(ctx context.Context, service *corev1.Service) (out []string, err error) {
	var list discoveryv1.EndpointSliceList
	if err := api.List(ctx, &list, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}); err != nil {
		return nil, err
	}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			out = append(out, net.JoinHostPort(e.Addresses[0], strconv.Itoa(echoPort)))
		}
	}
	return out, nil
}

// served returns an error unless exactly the desired Pods of a Deployment exist and are
// the endpoints of its Service.
func served(ctx context.Context, namespace, deployment, service string) error {
	d := &appsv1.Deployment{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: deployment}, d); err != nil {
		return err
	}
	want := int(*d.Spec.Replicas)
	var pods corev1.PodList
	if err := api.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
		return err
	}
	if len(pods.Items) != want {
		return fmt.Errorf("%s has %d Pods, want %d", deployment, len(pods.Items), want)
	}
	var list discoveryv1.EndpointSliceList
	if err := api.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		return err
	}
	for _, slice := range list.Items {
		unready := slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return !ptr.Deref(e.Conditions.Ready, true) })
		if len(slice.Endpoints) != want || unready {
			return fmt.Errorf("%s has %d endpoints, want %d that are ready", slice.Name, len(slice.Endpoints), want)
		}
	}
	return nil
}

// previousTestsGone returns an error while namespaces of earlier tests still exist.
func previousTestsGone(ctx context.Context, ours string) error {
	var namespaces corev1.NamespaceList
	if err := api.List(ctx, &namespaces); err != nil {
		return err
	}
	for _, n := range namespaces.Items {
		if strings.HasPrefix(n.Name, namespacePrefix) && n.Name != ours {
			return fmt.Errorf("namespace %s is still there", n.Name)
		}
	}
	return nil
}

// setMode changes the policy of the lab.
func setMode(ctx context.Context, t *testing.T, mode v1alpha1.ProxyMode) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec": {"mode": %q}}`, mode)
	config := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if err := api.Patch(ctx, config, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// wantMode waits until a node has programmed a mode.
func wantMode(t *testing.T, node string, mode v1alpha1.ProxyMode) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		status, err := agentStatus(node)
		if err != nil {
			return err
		}
		_, digest, err := desired(t.Context(), node)
		if err != nil {
			return err
		}
		if status.Mode != mode || status.RulesDigest != digest {
			conditions, _ := json.Marshal(status.Conditions)
			return fmt.Errorf("%s is in mode %q with rules %s, want %s with %s: %s",
				node, status.Mode, status.RulesDigest, mode, digest, conditions)
		}
		return nil
	})
}

// knock connects repeatedly until the returned function is called, which returns the
// errors of failed connections.
func knock(t *testing.T, from, address string, port int32) func() error {
	t.Helper()
	running := traffic.Start(traffic.Load{
		Sources: []traffic.Source{source(from)}, Rate: 50,
		Targets: []traffic.Target{{Address: net.JoinHostPort(address, strconv.Itoa(int(port)))}},
	})
	t.Cleanup(running.Stop)
	return func() error {
		running.Stop()
		var errs []error
		for _, r := range running.Take() {
			errs = append(errs, r.Err)
		}
		return errors.Join(errs...)
	}
}

// traces are what each mode leaves on a node while it is, or was, active.
var traces = map[v1alpha1.ProxyMode]struct {
	command string
	sign    *regexp.Regexp
}{
	v1alpha1.ModeNFTables: {"nft list tables", regexp.MustCompile(`fairlead`)},
	v1alpha1.ModeIPTables: {"iptables-legacy-save; ip6tables-legacy-save; iptables-nft-save; ip6tables-nft-save; nft list tables",
		regexp.MustCompile(`FAIRLEAD-|table ip6? (nat|filter|mangle)`)},
	v1alpha1.ModeUserspace: {fmt.Sprintf("ip route show table all proto %[1]d; ip -6 route show table all proto %[1]d; "+
		"ss -Hlntup | grep fairlead-agent | grep -v -e :10249 -e :10256 -e :10272 || true", userspace.Protocol), regexp.MustCompile(`.`)},
}

// onlyTracesOf returns an error if a node has traces of other modes, or none of its own.
func onlyTracesOf(mode v1alpha1.ProxyMode, node string) error {
	for other, trace := range traces {
		out, err := inNode(node, "sh", "-c", trace.command)
		if err != nil {
			return err
		}
		if found := trace.sign.FindString(out); (found != "") != (other == mode) {
			return fmt.Errorf("%s is in mode %s: `%s` shows for %s:\n%s", node, mode, trace.command, other, out)
		}
	}
	return nil
}

// changing are the volatile parts of the commands' outputs.
var changing = regexp.MustCompile(`(?m)^#.*|\[\d+:\d+\]| expires \w+| timeout \w+|users:.*`)

// numbers are the indexes of a Service's endpoints in nftables, which depend on
// earlier endpoints.
var numbers = regexp.MustCompile(`\. \d+ : (tcp \.|[0-9a-f])`)

// without returns the lines that are not in others.
func without(lines, others []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(others, l) })
}

// look returns everything that a mode could leave on a node, one item per line.
func look(t *testing.T, node string) []string {
	t.Helper()
	var out []string
	for _, command := range []string{
		"nft --stateless list ruleset", "iptables-legacy-save", "ip6tables-legacy-save",
		"ip -o addr", "ip route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule",
		"ss -Hlntu", "sysctl net.ipv4.conf.all.route_localnet",
	} {
		text, err := inNode(node, strings.Fields(command)...)
		if err != nil {
			t.Fatal(err)
		}
		text = numbers.ReplaceAllString(changing.ReplaceAllString(text, ""), ": $1")
		// The elements of a set are not ordered.
		lines := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("\n,{}", r) })
		for i, l := range lines {
			lines[i] = command + ": " + strings.Join(strings.Fields(l), " ")
		}
		slices.Sort(lines)
		out = append(out, slices.Compact(lines)...)
	}
	return out
}

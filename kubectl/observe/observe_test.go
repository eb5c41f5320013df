// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

func pod(name, address string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{NodeName: "node-1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address}}}}
}

// events has one of each kind of client and endpoint, and some that were lost.
func events() []observation.Event {
	at := time.Date(2026, 1, 2, 12, 0, 1, 234_000_000, time.UTC)
	web := observation.Event{Time: at, Node: "node-2", Service: "shop/web", Port: "http", Kind: model.KindClusterIP, Destination: "10.96.1.1:80/tcp"}
	fromPod, fromNode, fromOutside, six := web, web, web, web
	fromPod.Client, fromPod.Endpoint = "10.244.2.9:41000", "10.244.1.5:8080"
	fromNode.Client, fromNode.ClientNode, fromNode.Endpoint = "10.244.2.1:41001", "node-2", "10.244.7.7:8080"
	fromOutside.Client, fromOutside.Kind, fromOutside.Destination, fromOutside.Endpoint = "203.0.113.7:41002", model.KindNodePort, "192.0.2.12:30080/tcp", "192.0.2.11:8080"
	six.Port, six.Destination, six.Client, six.Endpoint = "", "[fd00:96::1]:80/tcp", "[fd00:244:2::9]:41003", "[fd00:244:1::5]:8080"
	return []observation.Event{fromPod, fromNode, fromOutside, {Time: at, Node: "node-2", Lost: 17}, six}
}

// feed writes what an agent prints, in pieces.
func feed(t *testing.T, p *Printer, list []observation.Event) {
	t.Helper()
	var printed bytes.Buffer
	encode := json.NewEncoder(&printed)
	if err := encode.Encode(observation.Start{Version: observation.Version, Node: "node-2", Mode: v1alpha1.ModeNFTables}); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := encode.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	to := p.Node()
	for printed.Len() > 0 {
		if _, err := to.Write(printed.Next(100)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrint(t *testing.T) {
	for name, asJSON := range map[string]bool{"events.txt": false, "events.json": true} {
		var out bytes.Buffer
		p := NewPrinter(&out)
		p.Zone, p.JSON = time.UTC, asJSON
		var started []observation.Start
		p.Started = func(s observation.Start) { started = append(started, s) }
		host := pod("host", "192.0.2.11")
		host.Spec.HostNetwork = true
		six := pod("web-a", "10.244.1.5")
		six.Status.PodIPs = append(six.Status.PodIPs, corev1.PodIP{IP: "fd00:244:1::5"})
		for _, pod := range []*corev1.Pod{host, six, pod("cart", "10.244.2.9")} {
			p.Names.Set(pod)
		}
		feed(t, p, events())
		kubectltest.Golden(t, name, out.Bytes())
		if diff := cmp.Diff([]observation.Start{{Version: "v1", Node: "node-2", Mode: v1alpha1.ModeNFTables}}, started); diff != "" {
			t.Error(diff)
		}
	}
}

// TestNames checks whose an address is after Pods have come and gone.
func TestNames(t *testing.T) {
	var n Names
	want := func(when, name string) {
		t.Helper()
		if got := n.of("10.244.1.5").Pod; got != name {
			t.Errorf("%s: %q, want %q", when, got, name)
		}
	}
	want("nothing", "")
	a, b := pod("a", "10.244.1.5"), pod("b", "10.244.1.5")
	n.Set(a)
	want("a runs", "shop/a")
	n.Set(b) // before the watch says that a has ended
	n.Delete(types.NamespacedName{Namespace: "shop", Name: "a"})
	want("b has the address of a", "shop/b")
	b.Status.Phase = corev1.PodSucceeded
	n.Set(b)
	want("b has ended", "")
	n.Set(a)
	a = pod("a", "10.244.1.6")
	n.Set(a)
	want("a has another address", "")
}

// refusing takes nothing.
type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestBadOutput(t *testing.T) {
	const start = `{"version":"v1"}` + "\n"
	for printed, want := range map[string]string{
		"hello\n":                     "read what the agent prints: invalid character",
		`{"version":"v2"}` + "\n":     `the agent's release answers in version "v2", and this plugin reads v1`,
		start + "hello\n":             "read what the agent prints: invalid character",
		start + `{"node":"n"}` + "\n": "write: closed",
	} {
		if _, err := NewPrinter(refusing{}).Node().Write([]byte(printed)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", printed, err, want)
		}
	}
}

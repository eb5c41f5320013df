// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/kubeclient"
)

func TestFlags(t *testing.T) {
	type want struct {
		APIServers       kubeclient.Addresses
		Namespace, Image string
		LeaderElect      bool
		Metrics, Probe   string
	}
	cases := map[string]struct {
		args    []string
		env     map[string]string
		want    want
		wantErr string
	}{
		"in a Pod": {nil,
			map[string]string{"POD_NAMESPACE": "fairlead-system", "RELATED_IMAGE_AGENT": "agent:v1", "FAIRLEAD_APISERVERS": "https://192.0.2.1:6443,https://192.0.2.2:6443"},
			want{kubeclient.Addresses{"https://192.0.2.1:6443", "https://192.0.2.2:6443"}, "fairlead-system", "agent:v1", true, "", ""}, ""},
		"by hand": {[]string{"--leader-elect=false", "--zap-log-level=debug"}, nil,
			want{Namespace: "kube-system"}, ""},
		"flags win": {[]string{"--apiserver", "https://192.0.2.9:6443", "--agent-image=agent:v2", "--namespace=x"},
			map[string]string{"POD_NAMESPACE": "y", "RELATED_IMAGE_AGENT": "agent:v1", "FAIRLEAD_APISERVERS": "https://192.0.2.1:6443"},
			want{kubeclient.Addresses{"https://192.0.2.9:6443"}, "x", "agent:v2", true, "", ""}, ""},
		"installed by config/default": {nil, map[string]string{"POD_NAMESPACE": "fairlead-system"}, want{Namespace: "fairlead-system", LeaderElect: true}, ""},
		"no flag":                     {[]string{"run"}, nil, want{}, `unexpected argument "run"`},
		"wrong address":               {[]string{"--apiserver=192.0.2.1"}, nil, want{}, "must have the form https://host:port"},
		"wrong variable":              {nil, map[string]string{"FAIRLEAD_APISERVERS": "x"}, want{}, "environment FAIRLEAD_APISERVERS: "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"POD_NAMESPACE", "RELATED_IMAGE_AGENT", "FAIRLEAD_APISERVERS"} {
				t.Setenv(k, tc.env[k])
			}
			fs := flag.NewFlagSet("fairlead-controller", flag.ContinueOnError)
			fs.SetOutput(io.Discard)
			opts, err := parseFlags(fs, tc.args)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error: got %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Metrics, tc.want.Probe = ":8443", ":8081"
			got := want{opts.apiservers, opts.namespace, opts.agentImage, opts.leaderElect, opts.metricsAddress, opts.probeAddress}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestManifest checks what the replicas of the manifest do: several need a leader, and the kubelet and
// Prometheus ask at the ports that the container names.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "manager", "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		if strings.Contains(document, "kind: Deployment") {
			if err := yaml.UnmarshalStrict([]byte(document), &deployment); err != nil {
				t.Fatal(err)
			}
		}
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	fs := flag.NewFlagSet("fairlead-controller", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	opts, err := parseFlags(fs, container.Args)
	if err != nil {
		t.Fatal(err)
	}
	if !opts.leaderElect {
		t.Errorf("%d replicas without a leader", *deployment.Spec.Replicas)
	}
	got := map[string]string{"metrics": opts.metricsAddress, "probes": opts.probeAddress}
	want := map[string]string{}
	for _, p := range container.Ports {
		want[p.Name] = fmt.Sprintf(":%d", p.ContainerPort)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// TestManagerOptions checks that not everyone reads metrics, where the kubelet asks, and when there is a
// leader.
func TestManagerOptions(t *testing.T) {
	for name, elect := range map[string]bool{"several replicas": true, "one, without a Lease": false} {
		t.Run(name, func(t *testing.T) {
			o, err := managerOptions(runtime.NewScheme(), &rest.Config{}, &options{namespace: "ns", leaderElect: elect, metricsAddress: ":1", probeAddress: ":2"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if m := o.Metrics; !m.SecureServing || m.FilterProvider == nil || m.BindAddress != ":1" {
				t.Errorf("metrics for everyone: %+v", m)
			}
			if o.HealthProbeBindAddress != ":2" || o.LeaderElection != elect || elect && o.LeaderElectionNamespace != "ns" || o.Cache.ByObject == nil {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestRestConfig(t *testing.T) {
	cfg, err := restConfig(&rest.Config{Host: "https://192.0.2.1:6443"}, &options{})
	if err != nil || cfg.QPS != -1 {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

// checks are those of a manager whose caches are not synced yet.
type checks struct{ healthy, ready map[string]healthz.Checker }

func (c checks) AddHealthzCheck(name string, check healthz.Checker) error {
	c.healthy[name] = check
	return nil
}

func (c checks) AddReadyzCheck(name string, check healthz.Checker) error {
	c.ready[name] = check
	return nil
}

func (c checks) GetCache() cache.Cache { return &informertest.FakeInformers{Synced: new(bool)} }

// TestChecks checks that a replica lives, and is not ready, before its caches are synced.
func TestChecks(t *testing.T) {
	c := checks{map[string]healthz.Checker{}, map[string]healthz.Checker{}}
	if err := addChecks(c); err != nil {
		t.Fatal(err)
	}
	if len(c.healthy) != 1 || len(c.ready) != 1 {
		t.Fatalf("got %v", c)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	for name, check := range c.healthy {
		if err := check(request); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, check := range c.ready {
		if err := check(request); err == nil {
			t.Errorf("%s: ready", name)
		}
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/agent/serve"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubeclient"
)

// TestAddresses checks which apiservers an agent asks first.
func TestAddresses(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "apiservers")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--apiserver-file=" + name
	}
	const a, b, c = "https://192.0.2.1:6443", "https://192.0.2.2:6443", "https://[2001:db8::1]:6443"
	cases := map[string]struct {
		args    []string
		want    kubeclient.Addresses
		wantErr string
	}{
		"none":            {nil, nil, ""},
		"a flag":          {[]string{"--apiserver=" + a}, kubeclient.Addresses{a}, ""},
		"a file":          {[]string{file(b + "," + c + "\n")}, kubeclient.Addresses{b, c}, ""},
		"both":            {[]string{file(b), "--apiserver=" + a}, kubeclient.Addresses{a, b}, ""},
		"an empty file":   {[]string{file("")}, nil, ""},
		"no such file":    {[]string{"--apiserver-file=/does/not/exist"}, nil, "read the addresses of the apiserver: open /does/not/exist"},
		"no address":      {[]string{file("192.0.2.1")}, nil, "must have the form https://host:port"},
		"http, in a file": {[]string{file("http://192.0.2.1:6443")}, nil, "must have the form https://host:port"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := parse(tc.args)
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.addresses()
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error: got %v, want %q", err, tc.wantErr)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	type want struct {
		Node, StateDir, Sysctls string
		Addresses               serve.Addresses
		Cleanup, Version        bool
	}
	defaults := serve.Addresses{Health: "0.0.0.0:10256", Metrics: "127.0.0.1:10249", Probe: "127.0.0.1:10272"}
	cases := map[string]struct {
		args    []string
		node    string // in the environment
		want    want
		wantErr string
	}{
		"in a Pod": {[]string{"--sysctl-root=/host/proc/sys"}, "n1", want{"n1", "/var/lib/fairlead", "/host/proc/sys", defaults, false, false}, ""},
		"by hand": {[]string{"--node-name=n2", "--state-dir=/s", "--healthz-bind-address=", "--metrics-bind-address=:1", "--probe-bind-address=:2"}, "n1",
			want{"n2", "/s", "/proc/sys", serve.Addresses{Metrics: ":1", Probe: ":2"}, false, false}, ""},
		"clean-up": {[]string{"--cleanup"}, "", want{"", "/var/lib/fairlead", "/proc/sys", defaults, true, false}, ""},
		"version":  {[]string{"--version"}, "", want{"", "/var/lib/fairlead", "/proc/sys", defaults, false, true}, ""},
		"no flag":  {[]string{"run"}, "", want{}, `unexpected argument "run"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NODE_NAME", tc.node)
			o, err := parse(tc.args)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error: got %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := want{o.agent.NodeName, o.agent.StateDir, o.agent.Sysctls.Root, o.agent.Addresses, o.cleanup, o.version}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRestConfig checks how an agent asks the apiserver.
func TestRestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "https://192.0.2.9:6443"}}],
		contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {token: x}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, servers, err := restConfig(options{kubeconfig: file, apiservers: kubeclient.Addresses{"https://192.0.2.1:6443"}})
	if err != nil {
		t.Fatal(err)
	}
	if config.QPS != -1 || !strings.HasPrefix(config.UserAgent, "fairlead-agent/") || config.BearerToken != "x" || servers == nil {
		t.Errorf("got %+v, %v", config, servers)
	}
	if _, _, err := restConfig(options{kubeconfig: file + "x"}); err == nil || !strings.Contains(err.Error(), "load the client configuration") {
		t.Errorf("without a file: %v", err)
	}
}

// TestCleanUp checks that a clean-up does what it can: a mode that fails does not stop another,
// nor that the kernel's parameters are set back.
func TestCleanUp(t *testing.T) {
	refused := errors.New("refused")
	for name, tc := range map[string]struct {
		fails   error
		damaged bool // what was noted of parameters
		want    string
	}{
		"everything":            {nil, false, "30"},
		"a mode fails":          {refused, false, "30"},
		"the parameters' notes": {nil, true, "10"},
	} {
		t.Run(name, func(t *testing.T) {
			o := agent.Options{StateDir: t.TempDir(), Sysctls: sysctl.Tree{Root: t.TempDir()}}
			if err := os.WriteFile(filepath.Join(o.Sysctls.Root, "timeout"), []byte("30\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			parameters, err := state.OpenParameters(o.StateDir, o.Sysctls)
			if err != nil {
				t.Fatal(err)
			}
			if err := parameters.Set("timeout", "10"); err != nil {
				t.Fatal(err)
			}
			if tc.damaged {
				if err := os.WriteFile(filepath.Join(o.StateDir, "parameters.json"), []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			first, second := fake.New(), fake.New()
			first.Fail(fake.Cleanup, tc.fails)
			o.Modes = []dataplane.Mode{fake.Mode(v1alpha1.ModeNFTables, dataplane.NAT, first), fake.Mode(v1alpha1.ModeIPVS, dataplane.LoadBalancer, second)}
			err = cleanUp(t.Context(), o, logr.Discard())
			if tc.fails != nil && !errors.Is(err, tc.fails) || (err != nil) != (tc.fails != nil || tc.damaged) {
				t.Errorf("got %v, want %v", err, tc.fails)
			}
			for i, d := range []*fake.Dataplane{first, second} {
				if d.Count(fake.Cleanup) != 1 || d.Count(fake.Close) != 1 {
					t.Errorf("mode %d: %d times cleaned up, %d times closed", i, d.Count(fake.Cleanup), d.Count(fake.Close))
				}
			}
			if got, _ := o.Sysctls.Get("timeout"); got != tc.want {
				t.Errorf("the parameter is %s, want %s", got, tc.want)
			}
		})
	}
}

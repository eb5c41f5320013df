// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestUsage checks what a wrong command is answered, before anything is read.
func TestUsage(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"no Service":         {[]string{"explain"}, "kubectl fairlead explain needs SERVICE[:PORT]; see kubectl fairlead explain --help"},
		"two Services":       {[]string{"explain", "a", "b"}, "kubectl fairlead explain needs SERVICE[:PORT]; see kubectl fairlead explain --help"},
		"unknown output":     {[]string{"explain", "web", "-o", "xml"}, "--output must be json or yaml"},
		"unknown client":     {[]string{"explain", "web", "--from", "external/x"}, "use external/ADDRESS"},
		"unknown command":    {[]string{"explian"}, `unknown command "explian"`},
		"no wide output":     {[]string{"explain", "web", "-o", "wide"}, "--output must be json or yaml"},
		"no node":            {[]string{"rules"}, "kubectl fairlead rules needs NODE, and SERVICE[:PORT] or nothing; see"},
		"unknown tool":       {[]string{"rules", "node-1", "-o", "ipset"}, "--output must be json, yaml, nft, iptables or ipvsadm"},
		"no wide drift":      {[]string{"drift", "-o", "wide"}, "--output must be json or yaml"},
		"no file":            {[]string{"diff"}, "kubectl fairlead diff needs -f FILE"},
		"file and name":      {[]string{"diff", "default"}, `unknown command "default"`},
		"a bundle of what":   {[]string{"bundle", "default"}, `unknown command "default"`},
		"no wide check":      {[]string{"check", "-o", "wide"}, "--output must be json, yaml or proxyconfig"},
		"a policy of what":   {[]string{"check", "-o", "proxyconfig"}, "--output proxyconfig needs --migrate"},
		"unknown table":      {[]string{"status", "-o", "xml"}, "--output must be json, yaml or wide"},
		"no ProxyConfig":     {[]string{"rollout", "abort"}, "kubectl fairlead rollout abort needs the name of a ProxyConfig"},
		"no stage":           {[]string{"rollout", "approve", "default"}, "needs the names of a ProxyConfig and of a stage"},
		"no policy to undo":  {[]string{"rollout", "undo"}, "kubectl fairlead rollout undo needs the name of a ProxyConfig"},
		"unknown dry run":    {[]string{"rollout", "undo", "default", "--dry-run", "all"}, "--dry-run must be none, server or client"},
		"whose revision":     {[]string{"rollout", "history", "--revision", "1"}, "--revision needs the name of a ProxyConfig"},
		"two forms":          {[]string{"rollout", "history", "default", "--revision", "1", "-o", "json"}, "and no --output"},
		"observe a Service":  {[]string{"observe", "web"}, `unknown command "web" for "kubectl fairlead observe"`},
		"no observed YAML":   {[]string{"observe", "-o", "yaml"}, "--output must be json"},
		"observe outside":    {[]string{"observe", "--from", "external"}, "--from: use external/ADDRESS"},
		"no Service to wait": {[]string{"wait"}, "kubectl fairlead wait needs SERVICE; see"},
		"negative time":      {[]string{"rollout", "status", "default", "-w", "--timeout", "-1s"}, "--timeout must not be negative"},
		"no node to test":    {[]string{"test", "--max-nodes", "0"}, "--max-nodes must be at least 1"},
		"negative timeout":   {[]string{"wait", "web", "--timeout", "-1s"}, "--timeout must not be negative"},
		"unknown subaction":  {[]string{"rollout", "stop", "default"}, `unknown command "stop"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			streams, _, _, _ := genericiooptions.NewTestIOStreams()
			command := NewCommand(streams)
			command.SetArgs(tc.args)
			if err := command.Execute(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// TestFlags checks that kubectl's own flags select the cluster, the namespace and the user.
func TestFlags(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/api":
			_, _ = w.Write([]byte(`{"kind":"APIVersions","versions":["v1"]}`))
		case r.URL.Path == "/api/v1":
			_, _ = w.Write([]byte(`{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"services","namespaced":true,"kind":"Service"}]}`))
		case strings.HasPrefix(r.URL.Path, "/apis"):
			_, _ = w.Write([]byte(`{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`))
		default:
			got = append(got, r.Method+" "+r.URL.Path, r.Header.Get("Impersonate-User"))
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	command := NewCommand(streams)
	command.SetArgs([]string{"explain", "service/web:80", "--server", server.URL, "-n", "shop", "--as", "jane"})
	if err := command.Execute(); err == nil || !strings.Contains(err.Error(), "read the Service") {
		t.Errorf("error %v, want one of reading the Service", err)
	}
	if diff := cmp.Diff([]string{"GET /api/v1/namespaces/shop/services/web", "jane"}, got); diff != "" {
		t.Error(diff)
	}
}

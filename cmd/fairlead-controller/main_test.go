// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/kubeclient"
)

func TestFlags(t *testing.T) {
	type want struct {
		APIServers       kubeclient.Addresses
		Namespace, Image string
		LeaderElect      bool
	}
	cases := map[string]struct {
		args    []string
		env     map[string]string
		want    want
		wantErr string
	}{
		"in a Pod": {nil,
			map[string]string{"POD_NAMESPACE": "fairlead-system", "RELATED_IMAGE_AGENT": "agent:v1", "FAIRLEAD_APISERVERS": "https://192.0.2.1:6443,https://192.0.2.2:6443"},
			want{kubeclient.Addresses{"https://192.0.2.1:6443", "https://192.0.2.2:6443"}, "fairlead-system", "agent:v1", true}, ""},
		"by hand": {[]string{"--leader-elect=false", "--zap-log-level=debug"}, nil,
			want{Namespace: "kube-system"}, ""},
		"flags win": {[]string{"--apiserver", "https://192.0.2.9:6443", "--agent-image=agent:v2", "--namespace=x"},
			map[string]string{"POD_NAMESPACE": "y", "RELATED_IMAGE_AGENT": "agent:v1", "FAIRLEAD_APISERVERS": "https://192.0.2.1:6443"},
			want{kubeclient.Addresses{"https://192.0.2.9:6443"}, "x", "agent:v2", true}, ""},
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
			got := want{opts.apiservers, opts.namespace, opts.agentImage, opts.leaderElect}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

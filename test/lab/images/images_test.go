// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"fairlead-agent", "echo", "coredns", "kube-proxy"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	set := Set{BinDir: dir, EchoPath: filepath.Join(dir, "echo"), CoreDNSPath: filepath.Join(dir, "coredns"),
		KubeProxyPath: filepath.Join(dir, "kube-proxy")}

	tests := map[string]struct {
		command, args []string
		want          []string
		wantErr       bool
	}{
		"ghcr.io/fairlead-proxy/fairlead-agent:v0.1.0":   {args: []string{"--v=2"}, want: []string{"/fairlead-agent", "--v=2"}},
		"ghcr.io/fairlead-proxy/fairlead-controller:dev": {wantErr: true}, // not built yet
		"nginx:1.14-alpine":                              {want: []string{"/bin/sh", "-c", nginxScript, "nginx", "nginx", "-g", "daemon off;"}},
		"docker.io/library/nginx":                        {command: []string{"nginx", "-T"}, want: []string{"nginx", "-T"}},
		"busybox":                                        {command: []string{"sleep"}, args: []string{"9"}, want: []string{"sleep", "9"}},
		"busybox:1.36":                                   {want: []string{"/bin/sh"}},
		"localhost:5000/coredns":                         {args: []string{"-conf", "x"}, want: []string{"/coredns", "-conf", "x"}},
		"registry.k8s.io/kube-proxy:v1.37.0":             {args: []string{"--v=2"}, want: []string{"/usr/local/bin/kube-proxy", "--v=2"}},
		"registry.k8s.io/pause:3.10":                     {want: []string{"sleep", "infinity"}},
		"curlimages/curl":                                {args: []string{"-s", "a"}, want: []string{"curl", "-s", "a"}},
		"example.org/shop/basket@sha256:0":               {args: []string{"--http=:8080"}, want: []string{"/echo", "--http=:8080"}},
		"":                                               {wantErr: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			image, err := set.Lookup(name)
			if (err != nil) != test.wantErr {
				t.Fatalf("error %v, want one: %v", err, test.wantErr)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(test.want, image.Args(test.command, test.args)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			for target, source := range image.Files {
				if _, err := os.Stat(source); err != nil {
					t.Errorf("file for %s: %v", target, err)
				}
			}
		})
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

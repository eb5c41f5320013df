// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

// TestNamesAreCheckedByName checks that one name among the addresses keeps the certificates
// checked by address and name.
func TestNamesAreCheckedByName(t *testing.T) {
	for name, c := range map[string]struct {
		addresses []string
		want      string
	}{
		"addresses":             {[]string{"https://192.0.2.1:6443", "https://[2001:db8::1]"}, serverName},
		"a name":                {[]string{"https://api.example.com:6443"}, ""},
		"a name after a number": {[]string{"https://192.0.2.1:6443", "https://api.example.com:6443"}, ""},
		"a name before one":     {[]string{"https://api.example.com:6443", "https://192.0.2.1:6443"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, err := Config(&rest.Config{BearerTokenFile: inClusterToken}, c.addresses)
			if err != nil || cfg.ServerName != c.want {
				t.Errorf("checks the name %q, want %q (%v)", cfg.ServerName, c.want, err)
			}
		})
	}
}

// TestPorts checks that an address without a port is that of HTTPS.
func TestPorts(t *testing.T) {
	cfg, servers, err := Config(&rest.Config{}, []string{"https://192.0.2.1/", "https://[2001:db8::1]", "https://api.example.com:6443"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.1:443", "[2001:db8::1]:443", "api.example.com:6443"}, servers.Given()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := "https://192.0.2.1:443"; cfg.Host != want {
		t.Errorf("the host is %s, want %s", cfg.Host, want)
	}
}

// TestDial checks that a config without a way to connect gets one that does not wait long,
// and that another is kept.
func TestDial(t *testing.T) {
	own := errors.New("its own")
	for name, c := range map[string]struct {
		dial func(context.Context, string, string) (net.Conn, error)
		want error
	}{
		"none":    {nil, context.Canceled},
		"its own": {func(context.Context, string, string) (net.Conn, error) { return nil, own }, own},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, err := Config(&rest.Config{Dial: c.dial}, []string{"https://127.0.0.1:6443"})
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Dial == nil {
				t.Fatal("it has none")
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := cfg.Dial(ctx, "tcp", "127.0.0.1:6443"); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	cases := map[string]struct {
		set     []string
		want    Addresses
		wantErr string
	}{
		"list":       {[]string{"https://192.0.2.1:6443, https://[2001:db8::1]:6443"}, Addresses{"https://192.0.2.1:6443", "https://[2001:db8::1]:6443"}, ""},
		"repeated":   {[]string{"https://a:1", "https://b:2"}, Addresses{"https://a:1", "https://b:2"}, ""},
		"empty":      {[]string{""}, nil, ""},
		"a gap":      {[]string{"https://a:1,,https://b:2,"}, Addresses{"https://a:1", "https://b:2"}, ""},
		"no scheme":  {[]string{"192.0.2.1:6443"}, nil, "https://host:port"},
		"plain HTTP": {[]string{"http://192.0.2.1:6443"}, nil, "https://host:port"},
		"with path":  {[]string{"https://192.0.2.1:6443/k8s"}, nil, "https://host:port"},
		"no host":    {[]string{"https://:6443"}, nil, "https://host:port"},
		"a user":     {[]string{"https://admin@192.0.2.1:6443"}, nil, "https://host:port"},
		"a query":    {[]string{"https://192.0.2.1:6443?timeout=1s"}, nil, "https://host:port"},
		"a fragment": {[]string{"https://192.0.2.1:6443#a"}, nil, "https://host:port"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got Addresses
			var err error
			for _, s := range tc.set {
				err = got.Set(s)
			}
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Fatalf("error: got %v, want %q", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, _, err := Config(&rest.Config{}, []string{"nonsense"}); err == nil {
		t.Error("Config must refuse a malformed address")
	}
	base := &rest.Config{Host: "https://vip"}
	if cfg, servers, err := Config(base, nil); err != nil || cfg != base || servers != nil {
		t.Errorf("without addresses: got %v, %v; want base unchanged", cfg, err)
	}
}

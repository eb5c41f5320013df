// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	authority, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func parse(t *testing.T, pair Pair) *x509.Certificate {
	t.Helper()
	both, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return both.Leaf
}

func TestCertificatesVerify(t *testing.T) {
	authority := newAuthority(t)
	server, err := authority.Server("apiserver", "10.89.0.10", "fd00:89::10", "kubernetes.default.svc")
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.Client("system:node:node-1", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"system:nodes"}, parse(t, client).Subject.Organization); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	ours, others := x509.NewCertPool(), x509.NewCertPool()
	ours.AppendCertsFromPEM(authority.Cert)
	others.AppendCertsFromPEM(newAuthority(t).Cert)

	tests := map[string]struct {
		pair  Pair
		name  string
		usage x509.ExtKeyUsage
		roots *x509.CertPool
		want  bool
	}{
		"server by IPv4":          {server, "10.89.0.10", x509.ExtKeyUsageServerAuth, ours, true},
		"server by IPv6":          {server, "fd00:89::10", x509.ExtKeyUsageServerAuth, ours, true},
		"server by name":          {server, "kubernetes.default.svc", x509.ExtKeyUsageServerAuth, ours, true},
		"server by a wrong name":  {server, "kubernetes.other", x509.ExtKeyUsageServerAuth, ours, false},
		"server as client":        {server, "", x509.ExtKeyUsageClientAuth, ours, false},
		"client":                  {client, "", x509.ExtKeyUsageClientAuth, ours, true},
		"client as server":        {client, "", x509.ExtKeyUsageServerAuth, ours, false},
		"another lab's authority": {client, "", x509.ExtKeyUsageClientAuth, others, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, test.pair).Verify(x509.VerifyOptions{
				DNSName: test.name, Roots: test.roots, KeyUsages: []x509.ExtKeyUsage{test.usage},
			})
			if (err == nil) != test.want {
				t.Errorf("verified %v (%v), want %v", err == nil, err, test.want)
			}
		})
	}
}

func TestWriteKeepsKeysPrivate(t *testing.T) {
	pair, err := SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := pair.Write(dir, "sa"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode of the key %o, want 600", mode)
	}
}

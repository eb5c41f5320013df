// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExceptions reads the list of the repository.
func TestExceptions(t *testing.T) {
	list, err := ReadExceptions()
	if err != nil {
		t.Fatal(err)
	}
	for proxy := range oracles {
		if _, err := regexp.Compile(list.In(proxy).SkipPattern()); err != nil {
			t.Errorf("%s: %v", proxy, err)
		}
	}
}

func TestParseExceptions(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml, wantErr string
	}{
		"everywhere":             {`[{cases: DNS, reason: none here}]`, ""},
		"as the oracle":          {`[{cases: DNS, where: [NFTables, kube-proxy/nftables], reason: the lab}]`, ""},
		"a mode without oracle":  {`[{cases: DNS, where: [Userspace], reason: addresses}]`, ""},
		"kube-proxy only":        {`[{cases: DNS, where: [kube-proxy/iptables], reason: a bug there}]`, ""},
		"of kube-proxy itself":   {`[{cases: metrics, where: [IPTables], kubeProxyItself: true, reason: its metrics}]`, ""},
		"the oracle passes":      {`[{cases: DNS, where: [NFTables, kube-proxy/iptables], reason: hard}]`, `exception "DNS": NFTables need not pass what kube-proxy/nftables passes`},
		"no reason":              {`[{cases: DNS, reason: " "}]`, `exception "DNS": no reason`},
		"no pattern":             {`[{reason: all}]`, `exception "": cases: no pattern`},
		"a pattern that is none": {`[{cases: "(", reason: x}]`, "exception \"(\": cases: error parsing regexp: missing closing ): `(`"},
		"an unknown proxy":       {`[{cases: DNS, where: [nftables], reason: x}]`, `exception "DNS": where: no proxy "nftables"`},
		"an unknown field":       {`[{cases: DNS, because: x}]`, `exceptions: error unmarshaling JSON: while decoding JSON: json: unknown field "because"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseExceptions([]byte(tc.yaml))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.wantErr, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSkipPattern(t *testing.T) {
	list, err := ParseExceptions([]byte(`
- {cases: 'a|b', skip: true, reason: x}
- {cases: c, reason: x}
- {cases: d, where: [Userspace], skip: true, reason: x}`))
	if err != nil {
		t.Fatal(err)
	}
	got := map[Proxy]string{}
	for _, proxy := range []Proxy{"NFTables", "Userspace"} {
		got[proxy] = list.In(proxy).SkipPattern()
	}
	if diff := cmp.Diff(map[Proxy]string{"NFTables": "(?:a|b)", "Userspace": "(?:a|b)|(?:d)"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

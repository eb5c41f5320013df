// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"cmp"
	"net/netip"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestParseAddr(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.41":            "10.0.0.41",
		"010.0.0.041":          "10.0.0.41", // decimal, not octal
		"000.000.000.000":      "0.0.0.0",
		" 10.0.0.1\t":          "10.0.0.1",
		"0000000010.0.0.1":     "10.0.0.1",
		"2001:DB8:0:0::0001":   "2001:db8::1",
		"::ffff:10.0.0.1":      "10.0.0.1",
		"::ffff:010.000.0.001": "10.0.0.1",
		"::ffff:a00:1":         "10.0.0.1",
		"64:ff9b::010.0.0.1":   "64:ff9b::a00:1",
		"fe80::1":              "fe80::1",

		"":                   "",
		" ":                  "",
		"10.0.0":             "",
		"10.0.0.":            "",
		"10.0.0.1.2":         "",
		"10..0.1":            "",
		"10.0.0.256":         "",
		"10.0.0.+1":          "",
		"10.0.0.0x1":         "",
		"10.0.0 .1":          "",
		"10.0.0.1/32":        "",
		"fe80::1%eth0":       "",
		"fe80::1%eth.00":     "",
		"::ffff:10.0.0.1%e0": "",
		"example.com":        "",
		"[::1]":              "",
	} {
		t.Run(in, func(t *testing.T) {
			got, err := model.ParseAddr(in)
			if want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
				return
			}
			if err != nil || got.String() != want {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
		})
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8":          "10.0.0.0/8",
		"10.1.2.3/8":          "10.0.0.0/8",
		" 010.1.2.3/08 ":      "10.0.0.0/8",
		"0.0.0.0/0":           "0.0.0.0/0",
		"0.0.0.0/00":          "0.0.0.0/0",
		"10.0.0.1/32":         "10.0.0.1/32",
		"2001:DB8::1/32":      "2001:db8::/32",
		"::/0":                "::/0",
		"::1.2.3.4/128":       "::102:304/128",
		"":                    "",
		"/":                   "",
		"10.0.0.0":            "",
		"10.0.0.0/":           "",
		"10.0.0.0/33":         "",
		"10.0.0.0/-1":         "",
		"10.0.0.0/8/8":        "",
		"10.0.0.0/ 8":         "",
		"::/129":              "",
		"fe80::%eth0/64":      "",
		"::ffff:10.0.0.0/8":   "", // would be ::/8, not 10.0.0.0/8
		"::ffff:10.0.0.0/104": "",
	} {
		t.Run(in, func(t *testing.T) {
			got, err := model.ParsePrefix(in)
			if want == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
				return
			}
			if err != nil || got.String() != want {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
		})
	}
}

func TestCheckAddresses(t *testing.T) {
	for in, want := range map[string]struct{ endpoint, frontend bool }{
		"10.0.0.1":        {true, true},
		"fd00::1":         {true, true},
		"2001:db8::1":     {true, true},
		"127.0.0.1":       {},
		"127.255.255.254": {},
		"::1":             {},
		"0.0.0.0":         {},
		"::":              {},
		"224.0.0.1":       {},
		"239.1.2.3":       {},
		"ff02::1":         {},
		// A node-local DNS cache has a link-local frontend.
		"169.254.20.10": {false, true},
		"fe80::1":       {false, true},
	} {
		t.Run(in, func(t *testing.T) {
			if err := model.ValidateEndpointAddress(addr(in)); (err == nil) != want.endpoint {
				t.Errorf("endpoint: %v", err)
			}
			if err := model.ValidateFrontendAddress(addr(in)); (err == nil) != want.frontend {
				t.Errorf("frontend: %v", err)
			}
		})
	}
}

func TestValidPort(t *testing.T) {
	for port, want := range map[int32]bool{-1: false, 0: false, 1: true, 80: true, 65535: true, 65536: false} {
		if got := model.ValidPort(port); got != want {
			t.Errorf("%d: %v", port, got)
		}
	}
}

func TestComparePrefix(t *testing.T) {
	var ordered []netip.Prefix
	for _, text := range []string{"10.0.0.0/8", "10.0.0.0/9", "10.1.0.0/16", "192.0.2.0/24", "::/0", "fd00::/8"} {
		ordered = append(ordered, netip.MustParsePrefix(text))
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := model.ComparePrefix(a, b); cmp.Compare(got, 0) != cmp.Compare(i, j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
}

// TestUnusable checks that what cannot be parsed is named as it was written.
func TestUnusable(t *testing.T) {
	for text, want := range map[string]string{"10.0.0.x": `"10.0.0.x" is not an IP address`, "fe80::1%e0": `"fe80::1%e0" must have no zone`} {
		if a, err := model.ParseAddr(text); err == nil || err.Error() != want || a.IsValid() {
			t.Errorf("%s: %s, %v", text, a, err)
		}
	}
	for text, want := range map[string]string{"10.0.0.0": `"10.0.0.0" is not a CIDR`, "x/8": `"x" is not an IP address`, "10.0.0.0/33": `"10.0.0.0/33" is not a CIDR`,
		"::ffff:10.0.0.0/104": `"::ffff:10.0.0.0/104" must not map IPv4 into IPv6`} {
		if p, err := model.ParsePrefix(text); err == nil || err.Error() != want || p.IsValid() {
			t.Errorf("%s: %s, %v", text, p, err)
		}
	}
}

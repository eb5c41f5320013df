// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var sum = strings.Repeat("0123456789abcdef", 4)

func TestLockFile(t *testing.T) {
	want := &Lock{Suite: "bookworm", Snapshot: time.Date(2026, 11, 26, 9, 0, 1, 0, time.UTC), Packages: []Package{
		{"libc6", "2.36-9+deb12u14", "amd64", sum, "debian/pool/main/g/glibc/libc6_2.36-9+deb12u14_amd64.deb"},
		{"libc6", "2.36-9+deb12u15", "arm64", sum, "debian-security/pool/updates/main/g/glibc/libc6_2.36-9+deb12u15_arm64.deb"},
	}}
	var text strings.Builder
	if err := want.Write(&text, "a test"); err != nil {
		t.Fatal(err)
	}
	got, err := Parse(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Packages[1:], got.For("arm64")); diff != "" {
		t.Errorf("of arm64 (-want +got):\n%s", diff)
	}
}

func TestBadLockFile(t *testing.T) {
	const head = "suite bookworm\nsnapshot 20261126T090001Z\n"
	for name, text := range map[string]string{
		"empty":         "",
		"no suite":      "snapshot 20261126T090001Z\n",
		"no snapshot":   "suite bookworm\n",
		"odd snapshot":  "suite bookworm\nsnapshot yesterday\n",
		"short sum":     head + "libc6 1 amd64 0123 debian/x.deb\n",
		"too few words": head + "libc6 1 amd64 " + sum + "\n",
		"leaves":        head + "libc6 1 amd64 " + sum + " debian/../../x.deb\n",
		"no archive":    head + "libc6 1 amd64 " + sum + " x.deb\n",
	} {
		if lock, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error, but %+v", name, lock)
		}
	}
}

func TestParseURIs(t *testing.T) {
	out := "'http://deb.debian.org/debian/pool/main/g/glibc/libc6_2.36-9%2bdeb12u14_amd64.deb' libc6_2.36-9+deb12u14_amd64.deb 2759320 SHA256:" + sum + "\n" +
		"'http://deb.debian.org/debian-security/pool/updates/main/n/netbase/netbase_1%3a6.4_all.deb' netbase_1%3a6.4_all.deb 12 SHA256:" + sum + "\n"
	want := []Package{
		{"libc6", "2.36-9+deb12u14", "amd64", sum, "debian/pool/main/g/glibc/libc6_2.36-9+deb12u14_amd64.deb"},
		{"netbase", "1:6.4", "amd64", sum, "debian-security/pool/updates/main/n/netbase/netbase_1:6.4_all.deb"},
	}
	got, err := parseURIs(out, "http://deb.debian.org", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	for name, out := range map[string]string{
		"another mirror": strings.ReplaceAll(out, "deb.debian.org", "other.example"),
		"MD5":            strings.ReplaceAll(out, "SHA256:", "MD5Sum:"),
		"a message":      "E: no such package\n",
	} {
		if got, err := parseURIs(out, "http://deb.debian.org", "amd64"); err == nil {
			t.Errorf("%s: no error, but %+v", name, got)
		}
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func FuzzParseAddr(f *testing.F) {
	for _, s := range append(frontendTexts, endpointTexts...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := model.ParseAddr(text)
		if strict, strictErr := netip.ParseAddr(text); strictErr == nil && strict.Zone() == "" && (err != nil || got != strict.Unmap()) {
			t.Errorf("%q: got %s, %v, strictly %s", text, got, err, strict)
		}
		if err != nil {
			return
		}
		if got.Zone() != "" || got.Is4In6() || !got.IsValid() {
			t.Errorf("%q: %s is not canonical", text, got)
		}
		if again, err := model.ParseAddr(got.String()); err != nil || again != got {
			t.Errorf("%q: %s, read again %s, %v", text, got, again, err)
		}
		// Lenience is about leading zeros and spaces only.
		if _, err := netip.ParseAddr(strings.TrimSpace(text)); err != nil && !strings.Contains(text, "0") {
			t.Errorf("%q was read as %s", text, got)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range sourceTexts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := model.ParsePrefix(text)
		if strict, strictErr := netip.ParsePrefix(text); strictErr == nil && !strict.Addr().Is4In6() && (err != nil || got != strict.Masked()) {
			t.Errorf("%q: got %s, %v, strictly %s", text, got, err, strict)
		}
		if err != nil {
			return
		}
		if got != got.Masked() || !got.IsValid() || got.Addr().Is4In6() {
			t.Errorf("%q: %s is not canonical", text, got)
		}
		if again, err := model.ParsePrefix(got.String()); err != nil || again != got {
			t.Errorf("%q: %s, read again %s, %v", text, got, again, err)
		}
	})
}

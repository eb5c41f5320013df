// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import "testing"

func TestCapabilities(t *testing.T) {
	cases := map[string]struct {
		add, drop []string
		want      CapabilitySet
		wantError string
	}{
		"runtimes' defaults": {want: 0x00000000a80425fb},
		"none":               {drop: []string{"ALL"}, want: 0},
		"only one":           {drop: []string{"all"}, add: []string{"CAP_NET_ADMIN"}, want: 1 << 12},
		"all":                {add: []string{"ALL"}, want: AllCapabilities},
		"one less":           {drop: []string{"CHOWN"}, want: 0x00000000a80425fa},
		"unknown":            {drop: []string{"FLY"}, wantError: `unknown capability "FLY"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Capabilities(tc.add, tc.drop)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if got != tc.want || message != tc.wantError {
				t.Errorf("got %x, %q; want %x, %q", got, message, tc.want, tc.wantError)
			}
		})
	}
}

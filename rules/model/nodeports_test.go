// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestNodePortsOn(t *testing.T) {
	failed := errors.New("no addresses")
	local := []netip.Addr{addr("192.168.0.2"), addr("192.168.1.2"), addr("127.0.0.1"), addr("fd00::2"), addr("::1")}
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for name, c := range map[string]struct {
		settings model.NodeSettings
		err      error
		want     []netip.Addr
		fails    bool
	}{
		"none":                        {want: nil},
		"an address, nothing to list": {settings: model.NodeSettings{NodePortAddresses: local[:1]}, err: failed, want: local[:1]},
		"an address of the loopback":  {settings: model.NodeSettings{NodePortAddresses: local[2:3]}, want: nil},
		"a range":                     {settings: model.NodeSettings{NodePortCIDRs: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}, want: local[1:2]},
		"everything but loopback":     {settings: model.NodeSettings{NodePortCIDRs: all}, want: []netip.Addr{local[0], local[1], local[3]}},
		"the loopback's range":        {settings: model.NodeSettings{NodePortCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, want: nil},
		"both": {settings: model.NodeSettings{NodePortAddresses: local[:1], NodePortCIDRs: []netip.Prefix{netip.MustParsePrefix("fd00::/8")}},
			want: []netip.Addr{local[0], local[3]}},
		"cannot list": {settings: model.NodeSettings{NodePortCIDRs: all}, err: failed, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.settings.NodePortsOn(func() ([]netip.Addr, error) { return local, c.err })
			if (err != nil) != c.fails || c.fails && !errors.Is(err, failed) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, slices.SortedFunc(maps.Keys(got), netip.Addr.Compare), byValue); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

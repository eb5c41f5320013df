// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inspection

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestFilter(t *testing.T) {
	at := func(address string) model.FrontendKey {
		a := netip.MustParseAddrPort(address)
		return model.FrontendKey{Address: a.Addr(), Protocol: model.TCP, Port: a.Port()}
	}
	web := &model.Frontend{Key: at("10.96.0.1:80"), Service: model.ServiceID{Namespace: "shop", Name: "web"}, PortName: "http"}
	nodePort := *web
	nodePort.Key, nodePort.PortKey = at("0.0.0.0:30080"), web.Key
	admin := *web
	admin.Key, admin.PortName = at("10.96.0.1:81"), "admin"
	other := *web
	other.Service.Name = "other"
	for name, tc := range map[string]struct {
		filter Filter
		want   []bool // of the four, and of a frontend that no Service has
	}{
		"everything":       {Filter{}, []bool{true, true, true, true, true}},
		"a Service":        {Filter{Service: "shop/web"}, []bool{true, true, true, false, false}},
		"a port":           {Filter{Service: "shop/web", Port: "http"}, []bool{true, true, false, false, false}},
		"a port's number":  {Filter{Service: "shop/web", Port: "80"}, []bool{true, true, false, false, false}},
		"no such port":     {Filter{Service: "shop/web", Port: "30080"}, []bool{false, false, false, false, false}},
		"only differences": {Filter{OnlyDifferences: true}, []bool{false, false, false, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []bool
			for _, f := range []*model.Frontend{web, &nodePort, &admin, &other, nil} {
				got = append(got, tc.filter.Shows(f))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

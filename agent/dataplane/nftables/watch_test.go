// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/internal/notifytest"
)

func TestWatch(t *testing.T) {
	cases := map[string]struct {
		change func(s *space, d *Dataplane)
		want   bool
	}{
		"the ruleset is flushed": {func(s *space, _ *Dataplane) { s.Run("nft", "flush", "ruleset") }, true},
		"an element is deleted": {func(s *space, _ *Dataplane) {
			s.Run("nft", "delete", "element", "ip", nattable.TableName, "cluster-ips", "{ 10.96.0.1 }")
		}, true},
		"a rule is added to one of our chains": {func(s *space, _ *Dataplane) {
			s.Run("nft", "add", "rule", "ip6", nattable.TableName, "frontends", "drop")
		}, true},
		"the node gets an address": {func(s *space, _ *Dataplane) { s.Run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo") }, true},
		"others add a table of another name": {func(s *space, _ *Dataplane) {
			s.Run("nft", "add", "table", "ip", "fairleads")
			s.Run("nft", "add", "table", "ip", "fair")
		}, false},
		"we program a change ourselves": {func(s *space, d *Dataplane) { mustSync(s.T, d, several(5, 2)) }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			d := s.dataplane()
			mustSync(t, d, several(3, 2))
			notified := watch(t, s, d)
			tc.change(s, d)
			notified.Want(t, tc.want)
		})
	}
}

// watch starts Watch and returns its notifications.
func watch(t *testing.T, s *space, d *Dataplane) notifytest.Notifications {
	t.Helper()
	return notifytest.Watch(t, s.Space, d, d.nft.Watched)
}

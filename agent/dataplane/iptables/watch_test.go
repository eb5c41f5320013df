// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"io"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/notifytest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestWatch(t *testing.T) {
	web := chainFor(prefixTo, at("10.96.0.1:80/tcp"), internal)
	for name, tc := range map[string]struct {
		change func(s *space, d *Dataplane)
		want   bool
	}{
		"the table is flushed":   {func(s *space, _ *Dataplane) { s.iptables("-t", "nat", "-F") }, true},
		"a jump is deleted":      {func(s *space, _ *Dataplane) { s.iptables("-t", "nat", "-D", "OUTPUT", "-j", chainOutput) }, true},
		"a rule of ours is gone": {func(s *space, _ *Dataplane) { s.iptables("-t", "nat", "-D", web, "2") }, true},
		"the filter is flushed":  {func(s *space, _ *Dataplane) { s.iptables("-F") }, true},
		"the ruleset is flushed": {func(s *space, _ *Dataplane) { s.Run("nft", "flush", "ruleset") }, true},
		"the node gets an address": {func(s *space, _ *Dataplane) {
			s.Run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo")
		}, true},
		"others change the same tables": {func(s *space, _ *Dataplane) {
			s.iptables("-t", "nat", "-N", "OTHER")
			s.iptables("-t", "nat", "-I", "PREROUTING", "-j", "OTHER")
			s.iptables("-t", "nat", "-D", "PREROUTING", "-j", "OTHER")
		}, false},
		"we program a change ourselves": {func(s *space, d *Dataplane) {
			mustApply(s.T, d, model.Diff(several(3, 2), several(5, 3)))
			mustSync(s.T, d, several(2, 2))
		}, false},
		"we program a large change": {func(s *space, d *Dataplane) {
			if stats := mustSync(s.T, d, several(200, 10)); stats.Operations <= nft.LoudOperations {
				s.T.Errorf("%+v is not large", stats)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t, variantNFT)
			d := s.dataplane()
			mustSync(t, d, several(3, 2))
			notified := watch(t, s, d)
			tc.change(s, d)
			notified.Want(t, tc.want)
		})
	}
}

// during is a kernel that others change just before a change of ours.
type during struct {
	kernel
	change func()
}

func (k during) restore(ctx context.Context, v6 bool, input io.WriterTo) error {
	k.change()
	return k.kernel.restore(ctx, v6, input)
}

// TestMissedNotification checks that changes by others during a large change of ours are
// reported, and no others. The legacy variant has no notifications to miss.
func TestMissedNotification(t *testing.T) {
	onBoth(t, func(t *testing.T, s *space) {
		other := func() {
			s.iptables("-t", "nat", "-N", "OTHER") // only the generation shows it
			s.iptables("-t", "nat", "-X", "OTHER")
		}
		d := s.dataplane()
		mustSync(t, d, several(3, 2))
		notified := watch(t, s, d)
		other()
		mustApply(t, d, model.Diff(several(3, 2), several(200, 10)))
		notified.Want(t, false)
		d.kernel = during{d.kernel, other}
		mustApply(t, d, model.Diff(several(200, 10), several(200, 11)))
		notified.Want(t, s.variant == variantNFT)
	})
}

// watch starts Watch and returns its notifications.
func watch(t *testing.T, s *space, d *Dataplane) notifytest.Notifications {
	t.Helper()
	return notifytest.Watch(t, s.Space, d, d.nft.Watched)
}

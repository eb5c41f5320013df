// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// limit is what may be removed without evidence, see MassRemovalOptions.
type limit struct {
	percent int // of the most endpoints within window
	min     int // endpoints; of fewer any number may go
	window  time.Duration
}

// limitOf returns the limit of a policy. What is absent is ProxyConfig's default: an older
// controller, or an older agent that wrote the checkpoint, does not know the fields.
func limitOf(o v1alpha1.MassRemovalOptions) limit {
	return limit{
		percent: int(cmp.Or(o.MaxPercent, 50)),
		min:     int(cmp.Or(o.MinEndpoints, 100)),
		window:  time.Duration(cmp.Or(o.WindowSeconds, 10)) * time.Second,
	}
}

// brake limits how many endpoints are removed in a short time, in relation to the most that
// there were within the window of its limit. What replaces endpoints by as many others is not
// limited.
type brake struct {
	limit limit
	now   func() time.Time
	peaks []peak // ordered by time, of falling size
}

func newBrake(now func() time.Time) brake {
	return brake{limit: limitOf(v1alpha1.MassRemovalOptions{}), now: now}
}

// peak is a number of endpoints that was not exceeded since until was last true.
type peak struct {
	until     time.Time // when it was replaced by another number; zero: it is the current one
	endpoints int
}

// note notes the number of endpoints after a change.
func (b *brake) note(endpoints int) {
	now := b.now()
	if last := len(b.peaks) - 1; last >= 0 && b.peaks[last].until.IsZero() {
		if b.peaks[last].endpoints == endpoints {
			return
		}
		b.peaks[last].until = now
	}
	for len(b.peaks) > 0 && b.peaks[len(b.peaks)-1].endpoints <= endpoints {
		b.peaks = b.peaks[:len(b.peaks)-1]
	}
	b.forget(now)
	b.peaks = append(b.peaks, peak{endpoints: endpoints})
}

// reset makes a number of endpoints the only one that counts.
func (b *brake) reset(endpoints int) { b.peaks = []peak{{endpoints: endpoints}} }

// allows says whether a change may leave this number of endpoints.
func (b *brake) allows(endpoints int) bool {
	b.forget(b.now())
	if len(b.peaks) == 0 || b.peaks[0].endpoints < b.limit.min {
		return true
	}
	most := b.peaks[0].endpoints
	return 100*(most-endpoints) <= b.limit.percent*most
}

// allowsChange says whether a slice may be replaced; nil: deleted. Endpoints that replace
// others, or move to another part, are not removed.
func (b *brake) allowsChange(s *sliceStore, name string, spec *v1alpha1.ServiceRuleSliceSpec) bool {
	return b.allows(s.usable-countUsable(s.specs[name])+countUsable(spec)) || b.allows(s.usable-s.loss(name, spec))
}

// forget drops the peaks that were before the window.
func (b *brake) forget(now time.Time) {
	for len(b.peaks) > 0 && !b.peaks[0].until.IsZero() && now.Sub(b.peaks[0].until) >= b.limit.window {
		b.peaks = b.peaks[1:]
	}
}

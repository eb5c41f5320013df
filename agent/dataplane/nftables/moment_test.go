// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// No packet is refused, or keeps the Service's address, because the tables change in the
// moment in which it is looked up.
func TestPacketsInTheMomentOfAChange(t *testing.T) {
	const frontend = "10.96.0.1:80/udp"
	f := families[0]
	a, b, r := join(f.podA, "8080"), join(f.podB, "8080"), join(f.remote, "8080")
	with := func(endpoints ...string) model.Desired {
		desired := bothFamilies()
		put(&desired, frontend, clusterIP(endpoints...))
		return desired
	}
	sticky := with(a, b)
	stick(&sticky, frontend, "", 100)
	two, three := with(a, b), with(a, b, r)
	apply := func(one, other model.Desired) func(*testing.T, *Dataplane, int) {
		deltas := []model.Delta{model.Diff(one, other), model.Diff(other, one)}
		return func(t *testing.T, d *Dataplane, i int) { mustApply(t, d, deltas[i%2]) }
	}
	for name, tc := range map[string]struct {
		rounds int
		change func(*testing.T, *Dataplane, int)
		// untranslated: there are moments without rules.
		untranslated bool
	}{
		"number of endpoints": {rounds: 6000, change: apply(two, three)},
		"affinity":            {rounds: 4000, change: apply(two, sticky)},
		"an endpoint":         {rounds: 6000, change: apply(two, with(a, r))},
		"a Proxy takes over, and gives back": {200, func(t *testing.T, d *Dataplane, _ int) {
			if _, err := d.Released(t.Context(), dataplane.Proxy, model.Desired{}, nil); err != nil {
				t.Fatal(err)
			}
			mustSync(t, d, two)
		}, true},
		"clean-up": {40, func(t *testing.T, d *Dataplane, _ int) {
			if err := d.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustSync(t, d, two)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := newTopology(t)
			o.node.quiet = true
			d := o.node.dataplane()
			mustSync(t, d, two)
			o.node.Feed(`table ip test {
				counter untranslated { }
				chain out { type filter hook postrouting priority 300; ip daddr 10.96.0.1 counter name untranslated; }
			}`, "nft", "-f", "-")
			packets := o.node.send(t, [4]byte{10, 96, 0, 1}, 80)
			for i := range tc.rounds {
				tc.change(t, d, i)
			}
			sent, refused := packets()
			untranslated := strings.Contains(o.node.Run("nft", "list", "counters", "table", "ip", "test"), "packets 0 ")
			if sent == 0 || refused != 0 || untranslated != !tc.untranslated {
				t.Errorf("%d packets, %d refused; none untranslated: %v", sent, refused, untranslated)
			}
		})
	}
}

// send sends datagrams from always another port, until the returned function is called. It
// returns how many, and how many of them were refused.
func (s *space) send(t *testing.T, address [4]byte, port int) func() (sent, refused int64) {
	// A port that comes up again is a new connection.
	s.Run("sysctl", "-w", "net.netfilter.nf_conntrack_udp_timeout=1")
	var end atomic.Bool
	var sent, refused atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- netdev.Do(int(s.Handle), func() error {
			for !end.Load() {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: address})
				if err == nil {
					// What our rules refuse or drop fails with EPERM. Not what gets no answer.
					if _, err = unix.Write(fd, []byte{0}); err == unix.EPERM {
						refused.Add(1)
						err = nil
					}
				}
				if _ = unix.Close(fd); err != nil {
					return err
				}
				if sent.Add(1)%50 == 0 {
					time.Sleep(time.Millisecond) // bounds the load
				}
			}
			return nil
		})
	}()
	return func() (int64, int64) {
		end.Store(true)
		if err := <-done; err != nil {
			t.Error(err)
		}
		return sent.Load(), refused.Load()
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// ranges are source ranges around the addresses of the topology.
type ranges struct {
	vip                                string // a load balancer's address
	outside, host, wider, other, every string
}

func (f family) ranges() ranges {
	if f.name == "IPv4" {
		return ranges{"192.0.2.20", "203.0.113.2/31", "203.0.113.0/31", "192.0.0.0/3", "198.51.100.0/24", "0.0.0.0/0"}
	}
	return ranges{"2001:db8:2::20", "2001:db8::2/127", "2001:db8::/127", "2000::/3", "fd07::/64", "::/0"}
}

// TestSourceRanges sends packets to a load balancer's address from allowed and
// denied sources.
func TestSourceRanges(t *testing.T) {
	o := newTopology(t)
	d, now := o.node.dataplane(), model.NewDesired()
	mustSync(t, d, now)
	for i, f := range families {
		r, proto, yes := f.ranges(), []string{"tcp", "udp"}[i], "remote sees "+f.link
		tests := map[string]struct {
			sources            []string
			outside, pod, host string
		}{
			"one source":          {[]string{r.outside}, yes, "no answer", "no answer"},
			"several":             {[]string{r.other, r.outside, r.host}, yes, "no answer", yes},
			"ranges that overlap": {[]string{r.wider, r.outside, r.host}, yes, "no answer", yes},
			"others":              {[]string{r.other}, "no answer", "no answer", "no answer"},
			"everyone":            {[]string{r.every}, yes, yes, yes},
			"no source":           {nil, "no answer", "no answer", "no answer"},
		}
		for name, tt := range tests {
			t.Run(f.name+"/"+proto+"/"+name, func(t *testing.T) {
				next := f.loadBalancer(proto, tt.sources)
				mustApply(t, d, model.Diff(now, next))
				now = next
				var clients sync.WaitGroup
				for who, c := range map[string]struct {
					*space
					want string
				}{"outside": {o.outside, tt.outside}, "pod": {o.client, tt.pod}, "host": {o.node, tt.host}} {
					noEndpoints := map[bool]string{true: "refused", false: "no answer"}[c.want == yes]
					for to, want := range map[string]string{
						join(r.vip, "80"): c.want, join(r.vip, "81"): noEndpoints, join(f.node, "30080"): yes,
					} {
						timeout := patience
						if want == "no answer" {
							timeout = impatience
						}
						clients.Go(func() {
							if got := c.ask(proto, to, timeout); got != want {
								t.Errorf("%s to %s: got %q, want %q", who, to, got, want)
							}
						})
					}
				}
				clients.Wait()
			})
		}
	}
}

// loadBalancer returns a Service with an endpoint on port 80 of its VIP, one
// without on port 81, both for the sources only, and a node port.
func (f family) loadBalancer(proto string, sources []string) model.Desired {
	d, vip := model.NewDesired(), f.ranges().vip
	nodePort := map[string]string{"IPv4": "nodeport:", "IPv6": "nodeport6:"}[f.name]
	lb := forwardTo(model.MasqueradeAlways, join(f.remote, "8080"))
	put(&d, nodePort+"30080/"+proto, lb)
	put(&d, join(vip, "80")+"/"+proto, lb)
	put(&d, join(vip, "81")+"/"+proto, rejected)
	restrict(&d, join(vip, "80")+"/"+proto, sources...)
	restrict(&d, join(vip, "81")+"/"+proto, sources...)
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr(f.node)}
	return d
}

// TestSourceIsVIP checks that a node can connect to a load balancer IP from that same IP
// if, and only if, it is in the ranges.
func TestSourceIsVIP(t *testing.T) {
	o, f := newTopology(t), families[0]
	r := f.ranges()
	o.node.Run("ip", "addr", "add", r.vip+"/"+f.bits(), "dev", "lo")
	d, now := o.node.dataplane(), model.NewDesired()
	mustSync(t, d, now)
	for source, want := range map[string]bool{r.vip + "/32": true, r.host: false} {
		next, key := model.NewDesired(), join(r.vip, "80")+"/tcp"
		put(&next, key, forwardTo(model.MasqueradeAlways, join(f.remote, "8080")))
		restrict(&next, key, source)
		mustApply(t, d, model.Diff(now, next))
		now = next
		o.node.Do(func() error {
			dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(r.vip)}}
			if !want {
				dialer.Timeout = impatience
			}
			c, err := dialer.Dial("tcp", join(r.vip, "80"))
			if got := err == nil; got != want {
				t.Errorf("%s: %v", source, err)
			}
			if err == nil {
				c.Close()
			}
			return nil
		})
	}
}

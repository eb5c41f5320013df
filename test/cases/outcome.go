// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Verdict is what happens to the packets of a flow.
type Verdict string

// The verdicts. Untouched packets reach the machine that has their destination.
const (
	Forwarded Verdict = "forwarded"
	Refused   Verdict = "refused"
	Dropped   Verdict = "dropped"
	Untouched Verdict = "untouched"

	// Undefined is what is not the same each time, of kube-proxy.
	Undefined Verdict = "undefined"
)

// Source is what an endpoint sees as the source of a packet.
type Source string

// The sources.
const (
	Kept        Source = "kept"
	Masqueraded Source = "masqueraded"
)

// Outcome is what a runner has found out about a flow.
type Outcome struct {
	Verdict Verdict
	// Seen are the endpoints that answered, each with the source that it saw.
	Seen map[netip.AddrPort]Source
	// Sticky says that the client meets only one of the endpoints.
	Sticky bool
}

// String returns for example "10.180.0.1:80 10.180.1.1:80 kept".
func (o Outcome) String() string {
	if o.Verdict != Forwarded {
		return string(o.Verdict)
	}
	bySource := map[Source][]string{}
	for _, endpoint := range slices.SortedFunc(maps.Keys(o.Seen), netip.AddrPort.Compare) {
		source := o.Seen[endpoint]
		bySource[source] = append(bySource[source], endpoint.String())
	}
	var words []string
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		words = append(words, strings.Join(bySource[source], " ")+" "+string(source))
	}
	if o.Sticky {
		words = append(words, "sticky")
	}
	return strings.Join(words, ", ")
}

// Outcome returns the outcome that is expected for a client's address. An
// endpoint that reaches itself never sees its own address as the client.
func (e Expect) Outcome(client netip.Addr) Outcome {
	o := Outcome{Verdict: e.Verdict, Sticky: e.Sticky}
	for _, endpoint := range e.Endpoints {
		if o.Seen == nil {
			o.Seen = map[netip.AddrPort]Source{}
		}
		o.Seen[endpoint] = e.Source
		if endpoint.Addr() == client {
			o.Seen[endpoint] = Masqueraded
		}
	}
	return o
}

// Check compares an outcome with what is expected.
func (e Expect) Check(p Packet, got Outcome) error {
	if want := e.Outcome(p.Source); want.String() != got.String() {
		return fmt.Errorf("%s: got %s, want %s", p, got, want)
	}
	return nil
}

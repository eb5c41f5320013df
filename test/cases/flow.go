// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Flow is packets from a client to an address, and what must happen to them.
type Flow struct {
	// From is the client: pod, host, outside, or an address (of a Pod, if it is in
	// the Pods' network, else outside); "host ADDRESS" is a process of the node
	// that sends from that address. A list is one flow for each.
	From OneOrMore `json:"from,omitempty"`
	// To are addresses with port.
	To OneOrMore `json:"to,omitempty"`
	// Proto is tcp (the default), udp or sctp.
	Proto string `json:"proto,omitempty"`

	Expect Expect `json:"expect"`

	// EverySeconds is the pause between two requests.
	EverySeconds float64 `json:"everySeconds,omitempty"`

	// Open gives the connection a name and keeps it for later steps, where Again
	// sends over it once more.
	Open  string `json:"open,omitempty"`
	Again string `json:"again,omitempty"`

	// OutOfWindow are segments that the endpoint of Again, a TCP connection, sends first:
	// Below the window (already acknowledged) or Above it.
	OutOfWindow OneOrMore `json:"outOfWindow,omitempty"`

	// KubeProxy is what kube-proxy does instead.
	KubeProxy *Deviation `json:"kubeProxy,omitempty"`

	// Modes is what happens instead in a mode with a limitation.
	Modes map[Runner]ModeDeviation `json:"modes,omitempty"`
}

// Where a segment is outside the window of a connection.
const (
	Below = "below"
	Above = "above"
)

// ModeDeviation is what a mode does because of a limitation, with its reason.
type ModeDeviation struct {
	Expect Expect `json:"expect"`
	Reason string `json:"reason"`
}

// Deviation is what kube-proxy does differently in its modes. Packets whose result is
// undefined there are not sent.
type Deviation struct {
	NFTables *Expect `json:"nftables,omitempty"`
	IPTables *Expect `json:"iptables,omitempty"`
	Reason   string  `json:"reason"`
}

// OneOrMore is a list of texts that may be written as a single one.
type OneOrMore []string

// UnmarshalJSON reads a text or a list of texts.
func (o *OneOrMore) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		*o = make(OneOrMore, 1)
		return json.Unmarshal(text, &(*o)[0])
	}
	return json.Unmarshal(text, (*[]string)(o))
}

// Expect is what must happen to the packets of a flow: one of the words refused,
// dropped, untouched; or endpoints.
type Expect struct {
	// Verdict is forwarded, refused, dropped or untouched.
	Verdict Verdict

	// Endpoints are all that answer over many requests.
	Endpoints []netip.AddrPort
	// Sticky says that only one of Endpoints answers, the same each time. Flows
	// of a case with the same Pinned name meet the same one.
	Sticky bool
	Pinned string
	// Source says whether the endpoints see the client's own address.
	Source Source
}

// UnmarshalJSON reads a word, or the form with endpoints.
func (e *Expect) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		if err := json.Unmarshal(text, &e.Verdict); err != nil {
			return err
		}
		if !slices.Contains([]Verdict{Refused, Dropped, Untouched, Undefined}, e.Verdict) {
			return fmt.Errorf("expect: %q must be refused, dropped, untouched, or {endpoints: [...], source: ...}", e.Verdict)
		}
		return nil
	}
	var long struct {
		Endpoints []netip.AddrPort `json:"endpoints"`
		OneOf     []netip.AddrPort `json:"oneOf"`
		Pinned    string           `json:"pinned"`
		Source    Source           `json:"source"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&long); err != nil {
		return err
	}
	*e = Expect{Verdict: Forwarded, Endpoints: append(long.Endpoints, long.OneOf...), Sticky: long.OneOf != nil,
		Pinned: long.Pinned, Source: long.Source}
	if (long.Endpoints == nil) == (long.OneOf == nil) || len(e.Endpoints) == 0 {
		return fmt.Errorf("expect: must have either endpoints or oneOf")
	}
	if e.Source != Kept && e.Source != Masqueraded {
		return fmt.Errorf("expect: source must be kept or masqueraded, not %q", e.Source)
	}
	return nil
}

func (f Flow) check() error {
	if f.Expect.Verdict == Undefined {
		return fmt.Errorf("expect: %q is for kubeProxy only", Undefined)
	}
	if f.KubeProxy != nil {
		if err := f.KubeProxy.check(f.Expect); err != nil {
			return err
		}
	}
	for mode, d := range f.Modes {
		if !slices.Contains(Modes, mode) || d.Reason == "" || reflect.DeepEqual(d.Expect, f.Expect) {
			return fmt.Errorf("modes: %q must be one of %q, with a reason, and differ from expect", mode, Modes)
		}
	}
	if f.Again != "" {
		if len(f.From)+len(f.To) > 0 || f.Open != "" {
			return fmt.Errorf("again is a flow that is open already: it has no from, to and open")
		}
		for _, where := range f.OutOfWindow {
			if where != Below && where != Above {
				return fmt.Errorf("outOfWindow: %q must be %s or %s", where, Below, Above)
			}
		}
		return nil
	}
	if len(f.OutOfWindow) > 0 {
		return fmt.Errorf("outOfWindow needs again")
	}
	if len(f.From) == 0 || len(f.To) == 0 || f.Expect.Verdict == "" {
		return fmt.Errorf("must have from, to and expect")
	}
	if f.Open != "" && len(f.From)*len(f.To) > 1 {
		return fmt.Errorf("open is a single connection")
	}
	for _, packet := range f.Packets() {
		if packet.Protocol == 0 {
			return fmt.Errorf("proto %q must be tcp, udp or sctp", f.Proto)
		}
		if !packet.Source.IsValid() || !packet.Destination.IsValid() {
			return fmt.Errorf("from must be pod, host, outside or an address, to an address with port")
		}
	}
	return nil
}

// exact says whether the flow says itself what it expects of a runner.
func (f Flow) exact(runner Runner) bool {
	_, ok := f.Modes[runner.mode()]
	return ok
}

// expectOf is what is expected of a runner.
func (f Flow) expectOf(runner Runner) Expect {
	if d, ok := f.Modes[runner.mode()]; ok {
		return d.Expect
	}
	if f.KubeProxy != nil {
		theirs := map[Runner]*Expect{KubeProxyNFTables: f.KubeProxy.NFTables, KubeProxyIPTables: f.KubeProxy.IPTables}[runner]
		if theirs != nil {
			return *theirs
		}
	}
	return f.Expect
}

func (d Deviation) check(ours Expect) error {
	if d.Reason == "" || d.NFTables == nil && d.IPTables == nil {
		return fmt.Errorf("kubeProxy must have a reason, and nftables or iptables")
	}
	for _, theirs := range []*Expect{d.NFTables, d.IPTables} {
		if theirs != nil && reflect.DeepEqual(*theirs, ours) {
			return fmt.Errorf("kubeProxy must differ from expect")
		}
	}
	return nil
}

// Packet is the first packet of a flow.
type Packet struct {
	// Client is pod, host or outside: where the packet comes from.
	Client      Client
	Source      netip.Addr
	Destination netip.AddrPort
	Protocol    model.Protocol
}

// Client is the place that packets come from.
type Client string

// The clients.
const (
	FromPod     Client = "pod"
	FromHost    Client = "host"
	FromOutside Client = "outside"
)

// PodNetwork is the network of all Pods of the cases.
var PodNetwork = netip.MustParsePrefix("10.0.0.0/8")

// PodLink is the name of the node's link to a Pod, by any of the Pod's addresses.
// The links to others have other names.
func PodLink(a netip.Addr) string { return "pod" + Original(a).String() }

// The addresses of the named clients. See README.md.
var (
	podAddress     = netip.MustParseAddr("10.0.0.2")
	outsideAddress = netip.MustParseAddr("203.0.113.2")
	// NodeAddress is the node's primary address. NodeAddresses are all that a
	// client outside may reach it by; LoopbackAddress is on the loopback, the others
	// are on a link of the node.
	NodeAddress     = netip.MustParseAddr("192.168.0.2")
	LoopbackAddress = netip.MustParseAddr("192.168.99.11")
	NodeAddresses   = []netip.Addr{NodeAddress, netip.MustParseAddr("192.168.1.2"), LoopbackAddress}
)

// Packets are the packets that a flow stands for: each client to each address.
func (f Flow) Packets() []Packet {
	protocol := map[string]model.Protocol{"": model.TCP, "tcp": model.TCP, "udp": model.UDP, "sctp": model.SCTP}[f.Proto]
	var all []Packet
	for _, from := range f.From {
		for _, to := range f.To {
			destination, _ := netip.ParseAddrPort(to) // invalid: see check
			packet := Packet{Destination: destination, Protocol: protocol}
			packet.Client, packet.Source = clientOf(from, destination.Addr())
			all = append(all, packet)
		}
	}
	return all
}

func clientOf(from string, to netip.Addr) (Client, netip.Addr) {
	source := map[string]netip.Addr{"pod": podAddress, "host": NodeAddress, "outside": outsideAddress}[from]
	client := Client(from)
	if text, onHost := strings.CutPrefix(from, "host "); onHost || !source.IsValid() {
		source, _ = netip.ParseAddr(text)
		switch {
		case onHost:
			client = FromHost
		case PodNetwork.Contains(Original(source)):
			client = FromPod
		default:
			client = FromOutside
		}
	}
	if client == FromHost && to.IsLoopback() {
		source = to // what the kernel chooses
	}
	if source.Is4() && to.Is6() {
		source = Twin(source)
	}
	return client, source
}

func (p Packet) String() string {
	return fmt.Sprintf("%s %s -> %s/%s", p.Client, p.Source, p.Destination, p.Protocol)
}

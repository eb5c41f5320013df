// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// recorder answers dumps with the messages that were sent to it, as the kernel does. It
// ignores deletions.
type recorder struct{ sent []byte }

// Dump returns the attributes of the sent messages that would have made the requested
// objects; for elements, those of one set.
func (r recorder) Dump(_ context.Context, msgType int, family byte, filter []byte, restart func(), each func([]byte) error) error {
	restart()
	made := map[int]int{
		unix.NFT_MSG_GETTABLE: unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_GETSET: unix.NFT_MSG_NEWSET,
		unix.NFT_MSG_GETCHAIN: unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_GETRULE: unix.NFT_MSG_NEWRULE,
		unix.NFT_MSG_GETSETELEM: unix.NFT_MSG_NEWSETELEM,
	}[msgType]
	set := func(attrs []byte) string { return netlink.Text(netlink.Find(attrs, unix.NFTA_SET_ELEM_LIST_SET)) }
	for m := range netlink.Messages(r.sent) {
		attrs, ok := m.Attrs()
		if int(m.Type) != unix.NFNL_SUBSYS_NFTABLES<<8|made || !ok || m.Data[0] != family {
			continue
		}
		if msgType == unix.NFT_MSG_GETSETELEM && set(attrs) != set(filter) {
			continue
		}
		if err := each(attrs); err != nil {
			return err
		}
	}
	return nil
}

// bytesSource takes numbers and addresses from the fuzzer's bytes; after these everything
// is 0.
type bytesSource []byte

func (b *bytesSource) next() byte {
	if len(*b) == 0 {
		return 0
	}
	first := (*b)[0]
	*b = (*b)[1:]
	return first
}

func (b *bytesSource) below(n int) int { return int(b.next()) % n }

func (b *bytesSource) uint16() uint16 { return uint16(b.next())<<8 | uint16(b.next()) }

func (b *bytesSource) addr(t *layout) netip.Addr {
	raw := make([]byte, t.AddrLen())
	for i := range raw {
		raw[i] = b.next()
	}
	a, _ := netip.AddrFromSlice(raw)
	if !t.ours(a) {
		return netip.IPv6Loopback() // instead of an IPv4 address in IPv6's form
	}
	return a
}

func (b *bytesSource) backend(t *layout) model.Backend {
	switch b.below(8) {
	case 0:
		return rejected
	case 1:
		return dropped
	}
	kinds := []model.Masquerade{model.MasqueradeNever, model.MasqueradeUnlessPod, model.MasqueradeAlways}
	out := model.Backend{Verdict: model.Forward, Masquerade: kinds[b.below(3)]}
	for range 1 + b.below(4) {
		out.Endpoints = append(out.Endpoints, netip.AddrPortFrom(b.addr(t), b.uint16()))
	}
	slices.SortFunc(out.Endpoints, model.Endpoint.Compare)
	out.Endpoints = slices.Compact(out.Endpoints)
	return out
}

func (b *bytesSource) frontend(t *layout) *model.Frontend {
	f := &model.Frontend{Key: model.FrontendKey{Address: b.addr(t), Protocol: model.Protocol(b.next()), Port: b.uint16()}}
	if b.below(3) == 1 {
		f.Key.Address = map[bool]netip.Addr{false: netip.IPv4Unspecified(), true: netip.IPv6Unspecified()}[t.V6()]
	}
	f.Internal = b.backend(t)
	f.External = f.Internal
	if b.below(2) == 1 {
		f.External = b.backend(t)
		f.External.Local = f.External.Verdict == model.Forward
	}
	if b.below(2) == 1 {
		f.AffinityTimeoutSeconds = int32(b.uint16())
		if b.below(2) == 1 {
			f.PortKey = model.FrontendKey{Address: b.addr(t), Protocol: f.Key.Protocol, Port: b.uint16()}
			f.Internal.Local = f.Internal.Verdict == model.Forward && b.below(4) == 1
		}
	}
	if !f.Key.IsNodePort() && b.below(2) == 1 {
		f.Restricted = true
		for range b.below(4) {
			a := b.addr(t)
			f.Sources = append(f.Sources, netip.PrefixFrom(a, b.below(a.BitLen()+1)).Masked())
		}
	}
	return f
}

func (b *bytesSource) wanted(t *layout) *wanted {
	w := &wanted{Desired: model.NewDesired(), nodePorts: map[netip.Addr]struct{}{}}
	for _, set := range []map[netip.Addr]struct{}{w.ClusterIPs, w.LocalEndpoints, w.nodePorts} {
		for range b.below(3) {
			set[b.addr(t)] = struct{}{}
		}
	}
	byHome := map[model.FrontendKey]*model.Frontend{}
	for range b.below(5) {
		f := b.frontend(t)
		for _, key := range []model.FrontendKey{f.Key, f.Home()} { // of one port
			if first := byHome[key]; first != nil {
				f.Internal, f.External, f.AffinityTimeoutSeconds = first.Internal, first.External, first.AffinityTimeoutSeconds
			}
			byHome[key] = f
		}
		w.Frontends[f.Key] = f
	}
	return w
}

var fuzzedTables = map[bool]*layout{
	false: newLayout(unix.NFPROTO_IPV4, TableName, DNAT(), false),
	true:  newLayout(unix.NFPROTO_IPV6, TableName, DNAT(), false),
}

// encoded are the messages that make the wanted state.
func encoded(t testing.TB, table *layout, want *wanted) ([]byte, *contents) {
	b := newBatches(batchSize)
	content, err := table.plan(b, &snapshot{}, want)
	if err != nil {
		t.Fatal(err)
	}
	if b.operations() != b[1].batch.Operations() {
		t.Fatal("a new table is made in more than one step")
	}
	out, _ := b[1].batch.Encode()
	return out, content
}

// FuzzEncoding encodes odd frontends for the kernel, and reads them back as the kernel
// would send them: both are equal, and nothing is left to do.
func FuzzEncoding(f *testing.F) {
	for seed := range uint64(30) {
		r, data := rand.New(rand.NewPCG(seed, 0)), make([]byte, 20*seed)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(seed%2 == 0, data)
	}
	f.Fuzz(func(t *testing.T, v6 bool, data []byte) {
		table, source := fuzzedTables[v6], bytesSource(data)
		want := source.wanted(table)
		sent, content := encoded(t, table, want)
		s, err := table.read(t.Context(), recorder{sent})
		if err != nil {
			t.Fatal(err)
		}
		if !s.exists || s.broken != "" || len(s.junk) > 0 {
			t.Fatalf("exists %v, broken %q, junk %v", s.exists, s.broken, s.junk)
		}
		byValue := []cmp.Option{cmp.AllowUnexported(heldFrontend{}, heldView{}, verdict{}, portChain{}, port{}, listKey{}, heldList{}),
			cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b model.Endpoint) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(slices.Equal[[]model.Endpoint])}
		if diff := cmp.Diff(content.frontends, s.frontends, byValue...); diff != "" {
			t.Error("read (+) is not what was sent (-):", diff)
		}
		for key, h := range content.lists {
			h.direct, h.shared = 0, 0
			content.lists[key] = h
		}
		if diff := cmp.Diff(content.lists, s.lists, byValue...); diff != "" {
			t.Error("lists read (+) are not what was sent (-):", diff)
		}
		again := newBatches(batchSize)
		if _, err := table.plan(again, s, want); err != nil || again.operations() != 0 {
			t.Errorf("%d operations are left, %v", again.operations(), err)
		}
	})
}

// FuzzReadBack reads elements, chains and rules that no kernel would send, and plans from
// them: there is no panic.
func FuzzReadBack(f *testing.F) {
	layouts := map[bool][]byte{}
	for v6, table := range fuzzedTables {
		layouts[v6], _ = encoded(f, table, &wanted{Desired: model.NewDesired()})
		sent, _ := encoded(f, table, probeRules(table))
		var elements []byte
		for m := range netlink.Messages(sent) {
			kind := m.Type &^ (unix.NFNL_SUBSYS_NFTABLES << 8)
			if message := asSent(m); kind == unix.NFT_MSG_NEWSETELEM {
				elements = append(elements, message...)
				f.Add(v6, message)
			} else if kind == unix.NFT_MSG_NEWRULE || kind == unix.NFT_MSG_NEWCHAIN {
				f.Add(v6, message)
			}
		}
		f.Add(v6, elements)
	}
	f.Fuzz(func(t *testing.T, v6 bool, data []byte) {
		for m := range netlink.Messages(data) {
			_ = m.Err() // no panic
		}
		nft.AnyChange(data, 1, Concerns)
		// Elements are read only if the layout is right.
		table := fuzzedTables[v6]
		s, err := table.read(t.Context(), recorder{slices.Concat(layouts[v6], data)})
		if err != nil {
			t.Fatal(err)
		}
		batches := newBatches(batchSize)
		if _, err := table.plan(batches, s, probeRules(table)); err != nil {
			t.Fatal(err)
		}
		for _, b := range batches.inOrder() {
			out, labels := b.Encode()
			n := 0
			for range netlink.Messages(out) {
				n++
			}
			if n != len(labels) {
				t.Errorf("%d messages, %d labels", n, len(labels))
			}
		}
	})
}

// asSent puts the header before a message again.
func asSent(m netlink.Message) []byte {
	out := binary.NativeEndian.AppendUint32(nil, uint32(netlink.HeaderLen+len(m.Data)))
	out = binary.NativeEndian.AppendUint16(out, m.Type)
	out = append(out, make([]byte, netlink.HeaderLen-len(out))...)
	return append(out, m.Data...)
}

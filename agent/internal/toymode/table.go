// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package toymode

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// tableName is the table of the family ip. It has one map, and the same rule in two chains:
//
//	endpoints  { protocol . address . port . number : address . port }
//	dnat to (protocol . address . port . numgen random mod 12) map @endpoints
//
// Each frontend has 12 elements, over which its endpoints are spread.
const tableName = "toy"

// slots is a multiple of most small numbers of endpoints.
const slots = 12

// Reasons of what is left out.
const (
	reasonNodePort   dataplane.Reason = "NodePort"
	reasonPolicy     dataplane.Reason = "TrafficPolicy"
	reasonSources    dataplane.Reason = "SourceRanges"
	reasonAffinity   dataplane.Reason = "Affinity"
	reasonVerdict    dataplane.Reason = "Verdict"
	reasonEndpoints  dataplane.Reason = "Endpoints"
	reasonMasquerade dataplane.Reason = "Masquerade"
)

var (
	errMasquerade = errors.New("a toy keeps the addresses of clients: endpoints must answer by way of the node, and cannot be their own clients")
	errLocalhost  = errors.New("a toy has no node ports, also not on 127.0.0.1")
)

// cannot says why a frontend is left out; empty: it is not.
func cannot(f *model.Frontend) (reason dataplane.Reason, message string) {
	switch {
	case f.Key.Address.Is6():
		return dataplane.ReasonIPv6, "IPv6: a toy has none"
	case f.Key.IsNodePort():
		return reasonNodePort, "a toy has no node ports"
	case f.ExternalDiffers():
		return reasonPolicy, "a toy makes no difference between clients"
	case f.Restricted:
		return reasonSources, "a toy makes no difference between clients, and so lets none in"
	case f.AffinityTimeoutSeconds > 0:
		return reasonAffinity, "a toy remembers no clients"
	case f.Internal.Verdict != model.Forward:
		return reasonVerdict, "a toy only forwards"
	case len(f.Internal.Endpoints) > slots:
		return reasonEndpoints, "a toy has at most " + strconv.Itoa(slots) + " endpoints for each frontend"
	}
	return "", ""
}

// layout describes the table.
type layout struct {
	comment   string
	table     *nft.Table
	endpoints *nft.Set
	chains    []*nft.Chain
}

func newLayout(name, comment string, dormant bool) layout {
	const dstnat = -100
	comment = "a toy, " + comment
	t := nft.NewTable(unix.NFPROTO_IPV4, name, comment, dormant)
	l := layout{comment: comment, table: t, endpoints: t.NewSet(nft.SetSpec{
		Name: "endpoints",
		Key:  []nft.Field{nft.ProtocolField(), t.DestinationField(), nft.PortField(), nft.NumberField()},
		Data: []nft.Field{t.DestinationField(), nft.PortField()},
	})}
	for name, hook := range map[string]uint32{"prerouting": unix.NF_INET_PRE_ROUTING, "output": unix.NF_INET_LOCAL_OUT} {
		l.chains = append(l.chains, t.NewChain(name, &nft.Hook{Number: hook, Priority: dstnat},
			t.NewRule("", nft.Protocol(0), t.Destination(1), nft.DestinationPort(2), nft.Random(3, slots),
				nft.DataOf(l.endpoints, 0, 0), t.TranslateDestination(0))))
	}
	return l
}

func (l layout) add(b *nft.Batch) {
	b.AddTable(l.table)
	b.AddSet(l.endpoints)
	for _, c := range l.chains {
		b.AddChain(c)
	}
}

// held is what the kernel has.
type held struct {
	exists   bool
	same     bool     // as described, except for the elements
	elements elements // if it is
}

func (l layout) read(ctx context.Context, r nft.Reader) (h held, err error) {
	h.exists, h.same, err = nft.ReadTable(ctx, r, l.table)
	if err != nil || !h.same {
		return h, err
	}
	sets, err := nft.ReadSets(ctx, r, l.table)
	if err != nil {
		return h, err
	}
	chains, err := nft.ReadChains(ctx, r, l.table)
	if err != nil {
		return h, err
	}
	h.same = len(sets) == 1 && sets[0].Is(l.endpoints) && len(chains) == len(l.chains)
	for _, c := range l.chains {
		has, ok := chains[c.Name]
		h.same = h.same && ok && has.Is(c) && nft.RulesEqual(has.Rules, c.Rules)
	}
	if !h.same {
		return h, nil
	}
	err = nft.ReadElements(ctx, r, l.endpoints, func() { h.elements = elements{} },
		func(e nft.Element) { h.elements[string(e.Key)] = string(e.Data()) })
	return h, err
}

// elements of the map, by their keys.
type elements map[string]string

func elementsOf(d model.Desired) elements {
	e := elements{}
	for _, f := range d.Frontends {
		e.put(f)
	}
	return e
}

// put adds those of a frontend, if it is not left out; nil: none.
func (e elements) put(f *model.Frontend) elements {
	if f == nil {
		return e
	}
	if reason, _ := cannot(f); reason != "" {
		return e
	}
	address := f.Key.Address.As4()
	key := append([]byte{byte(f.Key.Protocol), 0, 0, 0}, address[:]...)
	key = append(binary.BigEndian.AppendUint16(key, f.Key.Port), 0, 0)
	for i := range slots {
		to := f.Internal.Endpoints[i%len(f.Internal.Endpoints)]
		endpoint := to.Addr().As4()
		data := append(binary.BigEndian.AppendUint16(endpoint[:], to.Port()), 0, 0)
		e[string(binary.NativeEndian.AppendUint32(key[:len(key):len(key)], uint32(i)))] = string(data)
	}
	return e
}

// change adds and deletes elements, and returns how many.
func change(b *nft.Batch, s *nft.Set, from, to elements) int {
	before := b.Operations()
	for key, data := range from {
		if to[key] != data {
			b.Delete(s).Key([]byte(key))
		}
	}
	for key, data := range to {
		if from[key] != data {
			b.Add(s).Data([]byte(key), []byte(data))
		}
	}
	return b.Operations() - before
}

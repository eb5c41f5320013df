// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Batch collects changes that take effect together. They are sent in the order that the
// kernel needs, not in the order of the calls: tables, sets and chains; rules; deleted
// elements; added elements (so that a key can change its value); and last the chains and
// sets to delete.
type Batch struct {
	objects messageList // tables, sets, chains
	rules   messageList
	streams map[streamKey]*Stream
	order   []streamKey // of streams, for a stable order
	last    messageList // sets and chains to delete

	operations int

	out    []byte   // the encoded messages, after Next
	labels []string // of them
}

// NewBatch returns an empty batch.
func NewBatch() *Batch { return &Batch{streams: map[streamKey]*Stream{}} }

// Operations returns how many objects the batch adds, deletes and flushes: tables, sets,
// chains, rules and elements.
func (b *Batch) Operations() int { return b.operations }

// Next encodes the batch, to which nothing can be added afterwards, and returns an empty one
// that takes over its buffers. So many batches take little more memory than their messages.
func (b *Batch) Next() *Batch {
	next := *b
	b.out, b.labels = next.encode()
	b.free()
	next.operations = 0
	return &next
}

// free drops the buffers.
func (b *Batch) free() {
	b.objects, b.rules, b.streams, b.order, b.last = messageList{}, messageList{}, nil, nil, messageList{}
}

// messageList is a list of messages, each with a label. full holds the buffers that are
// complete: one buffer that grew with all messages would be copied as it grows, and take
// twice the memory. spare holds buffers to use again.
type messageList struct {
	netlink.Buffer
	full, spare [][]byte
	labels      []string
}

// extend starts a new buffer.
func (l *messageList) extend() {
	l.full = append(l.full, l.B)
	if n := len(l.spare); n > 0 {
		l.B, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		l.B = make([]byte, 0, messageLimit+messageSlack)
	}
}

// put appends a message.
func (l *messageList) put(label string, msgType int, family byte, flags int, attrs []byte) {
	start := begin(&l.Buffer, msgType, family, flags)
	l.B = append(l.B, attrs...)
	l.End(start)
	l.labels = append(l.labels, label)
}

// begin starts a message of the nftables subsystem.
func begin(w *netlink.Buffer, msgType int, family byte, flags int) (start int) {
	return w.Begin(unix.NFNL_SUBSYS_NFTABLES<<8|msgType, family, flags)
}

// AddTable adds an empty table.
func (b *Batch) AddTable(t *Table) {
	b.objects.put("add "+t.String(), unix.NFT_MSG_NEWTABLE, t.Family, unix.NLM_F_CREATE, t.attrs)
	b.operations++
}

// DeleteTable deletes a table and everything in it, before anything else. If AddTable
// follows, there is no moment without the table.
func (b *Batch) DeleteTable(t *Table) {
	b.objects.put("delete "+t.String(), unix.NFT_MSG_DELTABLE, t.Family, 0, t.named())
	b.operations++
}

// AddSet adds a set without elements.
func (b *Batch) AddSet(s *Set) {
	w := netlink.Buffer{B: append([]byte(nil), s.attrs...)}
	w.Number(unix.NFTA_SET_ID, 0) // required; other messages refer to sets by name
	b.objects.put("add "+s.String(), unix.NFT_MSG_NEWSET, s.Table.Family, unix.NLM_F_CREATE, w.B)
	b.operations++
}

// DeleteSet deletes a set and its elements, after everything else in the batch.
func (b *Batch) DeleteSet(s *Set) {
	b.last.put("delete "+s.String(), unix.NFT_MSG_DELSET, s.Table.Family, 0, s.attrs)
	b.operations++
}

// AddChain adds a chain with its rules.
func (b *Batch) AddChain(c *Chain) {
	b.objects.put("add "+c.String(), unix.NFT_MSG_NEWCHAIN, c.Table.Family, unix.NLM_F_CREATE, c.attrs)
	b.operations++
	b.addRules(c)
}

// RewriteRules replaces all rules of a chain atomically.
func (b *Batch) RewriteRules(c *Chain) {
	var w netlink.Buffer
	w.Text(unix.NFTA_RULE_TABLE, c.Table.Name)
	w.Text(unix.NFTA_RULE_CHAIN, c.Name)
	b.rules.put("flush "+c.String(), unix.NFT_MSG_DELRULE, c.Table.Family, 0, w.B)
	b.operations++
	b.addRules(c)
}

// addRules appends the rules of a chain.
func (b *Batch) addRules(c *Chain) {
	for _, r := range c.Rules {
		var w netlink.Buffer
		w.Text(unix.NFTA_RULE_TABLE, c.Table.Name)
		w.Text(unix.NFTA_RULE_CHAIN, c.Name)
		w.Attr(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, r.exprs)
		if u := r.userdata(); u != nil {
			w.Attr(unix.NFTA_RULE_USERDATA, u)
		}
		b.rules.put("add a rule to "+c.String(), unix.NFT_MSG_NEWRULE, c.Table.Family,
			unix.NLM_F_CREATE|unix.NLM_F_APPEND, w.B)
		b.operations++
	}
}

// DeleteChain deletes a chain and its rules, after everything else in the batch.
func (b *Batch) DeleteChain(c *Chain) {
	b.last.put("delete "+c.String(), unix.NFT_MSG_DELCHAIN, c.Table.Family, 0, c.attrs)
	b.operations++
}

// Encode returns the messages in one buffer, with a label for each. It removes them from
// the batch. Commit calls it.
func (b *Batch) Encode() (out []byte, labels []string) {
	if out, labels = b.out, b.labels; out == nil {
		out, labels = b.encode()
	}
	b.out, b.labels = nil, nil
	b.free() // while the kernel works on its copy
	return out, labels
}

// encode is Encode, and keeps the buffers.
func (b *Batch) encode() ([]byte, []string) {
	lists := []*messageList{&b.objects, &b.rules}
	for _, del := range []bool{true, false} {
		for _, key := range b.order {
			if s := b.streams[key]; key.del == del {
				if s.open {
					s.close()
				}
				lists = append(lists, &s.list)
			}
		}
	}
	lists = append(lists, &b.last)

	size := 0
	for _, l := range lists {
		l.full = append(l.full, l.B)
		for _, part := range l.full {
			size += len(part)
		}
	}
	const ends = 64 // more than the first and the last message take
	out, labels := netlink.Buffer{B: make([]byte, 0, size+ends)}, []string{"commit the batch"}
	out.End(out.BeginResource(unix.NFNL_MSG_BATCH_BEGIN, unix.AF_UNSPEC, 0, unix.NFNL_SUBSYS_NFTABLES))
	final := 0 // offset of the last message before the end: the one to acknowledge
	for _, l := range lists {
		for _, part := range l.full {
			for off := 0; off < len(part); off += int(binary.NativeEndian.Uint32(part[off:])) {
				final = len(out.B) + off
			}
			out.B = append(out.B, part...)
			l.spare = append(l.spare, part[:0])
		}
		l.full = nil
		l.B, l.spare = l.spare[len(l.spare)-1], l.spare[:len(l.spare)-1]
		labels = append(labels, l.labels...)
		l.labels = nil
	}
	flags := binary.NativeEndian.Uint16(out.B[final+6:])
	binary.NativeEndian.PutUint16(out.B[final+6:], flags|unix.NLM_F_ACK)
	out.End(out.BeginResource(unix.NFNL_MSG_BATCH_END, unix.AF_UNSPEC, 0, unix.NFNL_SUBSYS_NFTABLES))
	return out.B, append(labels, "end the batch")
}

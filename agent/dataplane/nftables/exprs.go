// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// direction is an address of a packet.
type direction int

const (
	src direction = iota
	dst
)

// register returns the number of the n-th register of 4 bytes. The kernel calls
// every fourth by its old name for registers of 16 bytes, and so do we, for what
// we read back is compared with what we have sent.
func register(n int) uint32 {
	if n%4 == 0 {
		return uint32(unix.NFT_REG_1 + n/4)
	}
	return uint32(unix.NFT_REG32_00 + n)
}

// words is how many registers an address takes.
func (t *table) words() int { return t.addrLen() / 4 }

// addr loads an address of the packet.
func (t *table) addr(d direction, reg int) expr.Any {
	offset := map[bool][2]uint32{false: {12, 16}, true: {8, 24}}[t.v6()][d]
	return &expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseNetworkHeader,
		Offset: offset, Len: uint32(t.addrLen()), DestRegister: register(reg)}
}

// transportKey loads protocol and destination port.
func (t *table) transportKey(reg int) []any {
	return []any{t.protocol(reg), t.dport(reg + 1)}
}

func (t *table) protocol(reg int) expr.Any {
	return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(reg)}
}

func (t *table) dport(reg int) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseTransportHeader,
		Offset: 2, Len: 2, DestRegister: register(reg)}
}

// chainKey loads the key of a frontend, and says which register comes next.
func (t *table) chainKey(at where) (key []any, next int) {
	if at == onNodePort {
		return t.transportKey(0), 2
	}
	return t.frontendKey(), t.words() + 2
}

// translate sends the packet to the endpoint in the first registers.
func (t *table) translate() expr.Any {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.family), RegAddrMin: register(0), RegProtoMin: register(t.words())}
}

// frontendKey loads destination address, protocol and destination port.
func (t *table) frontendKey() []any {
	return append([]any{t.addr(dst, 0)}, t.transportKey(t.words())...)
}

// lookup finds a key in a set.
type lookup struct {
	set  *set
	key  int     // register where the key starts
	dest *uint32 // register for the data of a map
}

// in goes on with the rule if the key is in the set.
func (t *table) in(s *set) lookup { return lookup{set: s} }

// verdict lets a map of verdicts decide.
func (t *table) verdict(s *set) lookup {
	reg := uint32(unix.NFT_REG_VERDICT)
	return lookup{set: s, dest: &reg}
}

// data loads the data of a map, from the first register on.
func (t *table) data(s *set) lookup { return t.dataFor(s, 0, 0) }

// dataFor loads the data for the key that starts in a register into another.
func (t *table) dataFor(s *set, key, dest int) lookup {
	reg := register(dest)
	return lookup{s, key, &reg}
}

// learn adds, refreshes or deletes an element of a dynamic map.
type learn struct {
	set       *set
	op        uint32
	key, data int // registers
	timeout   int32
}

// reject refuses the packet; code is for ICMP.
type reject struct {
	kind uint32
	code *byte
}

// The rest are the expressions that more than one rule has. All work on the
// first register.

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

func gotoChain(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }

func loadMark() expr.Any { return &expr.Meta{Key: expr.MetaKeyMARK, Register: 1} }

func storeMark() expr.Any {
	return &expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true}
}

// setBits makes the bits of masqueradeMark equal to value.
func setBits(value uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(^uint32(masqueradeMark)), Xor: native(value)}
}

// translated goes on with the rule if the connection has another destination.
func translated() []any {
	const dstNAT = 0x20 // IPS_DST_NAT
	return []any{&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}, mask(native(dstNAT)), differs(native(0))}
}

func mask(m []byte) expr.Any { return maskAt(0, m) }

// maskAt masks what the n-th register holds.
func maskAt(n int, m []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register(n), DestRegister: register(n), Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}
}

func equals(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func differs(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data} }

// cidrMask returns the bits of an address that a range fixes.
func cidrMask(p netip.Prefix) []byte { return prefixMask(p.Addr().BitLen()/8, p.Bits()) }

// prefixMask returns n bytes of which the first bits are set.
func prefixMask(n, bits int) []byte {
	m := make([]byte, n)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// rule encodes expressions. It panics on one that cannot be encoded: they are all
// ours, and every table is built at start.
func (t *table) rule(comment string, exprs ...any) rule {
	var w buffer
	for _, e := range exprs {
		start := w.nest(unix.NFTA_LIST_ELEM)
		switch e := e.(type) {
		case lookup:
			w.expression("lookup", func() {
				w.text(unix.NFTA_LOOKUP_SET, e.set.name)
				w.number(unix.NFTA_LOOKUP_SREG, register(e.key))
				if e.dest != nil {
					w.number(unix.NFTA_LOOKUP_DREG, *e.dest)
				}
			})
		case learn:
			w.expression("dynset", func() {
				w.text(unix.NFTA_DYNSET_SET_NAME, e.set.name)
				w.number(unix.NFTA_DYNSET_OP, e.op)
				w.number(unix.NFTA_DYNSET_SREG_KEY, register(e.key))
				w.number(unix.NFTA_DYNSET_SREG_DATA, register(e.data))
				if e.timeout > 0 {
					w.attr(unix.NFTA_DYNSET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(e.timeout)*1000))
				}
			})
		case reject:
			w.expression("reject", func() {
				w.number(unix.NFTA_REJECT_TYPE, e.kind)
				if e.code != nil {
					w.attr(unix.NFTA_REJECT_ICMP_CODE, []byte{*e.code})
				}
			})
		case expr.Any:
			b, err := expr.Marshal(t.family, e)
			if err != nil {
				panic(fmt.Sprintf("nftables: encoding %T: %v", e, err))
			}
			w.b = append(w.b, b...)
		default:
			panic(fmt.Sprintf("nftables: %T is no expression", e))
		}
		w.endNest(start)
	}
	return rule{exprs: w.b, comment: comment}
}

// expression encodes an expression that the library encodes with attributes that
// the kernel does not send back.
func (w *buffer) expression(name string, data func()) {
	w.text(unix.NFTA_EXPR_NAME, name)
	start := w.nest(unix.NFTA_EXPR_DATA)
	data()
	w.endNest(start)
}

// userdata returns the comment in the form of nft, nil if there is none.
func (r rule) userdata() []byte {
	if r.comment == "" {
		return nil
	}
	return udata(0, append([]byte(r.comment), 0))
}

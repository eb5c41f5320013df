// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Expr is an expression of a rule. Those that take no register load into the first,
// or work on it.
type Expr func(w *netlink.Buffer, family byte)

// register returns the number of the n-th register of 4 bytes. The kernel calls
// every fourth by its old name for registers of 16 bytes, and so does this package,
// for what is read back is compared with what was sent.
func register(n int) uint32 {
	if n%4 == 0 {
		return uint32(unix.NFT_REG_1 + n/4)
	}
	return uint32(unix.NFT_REG32_00 + n)
}

// library encodes an expression of a library.
func library(e expr.Any) Expr {
	return func(w *netlink.Buffer, family byte) {
		b, err := expr.Marshal(family, e)
		if err != nil {
			panic(fmt.Sprintf("nft: encode %T: %v", e, err))
		}
		w.B = append(w.B, b...)
	}
}

// own encodes an expression that the library encodes with attributes that the kernel
// does not send back.
func own(name string, data func(w *netlink.Buffer)) Expr {
	return func(w *netlink.Buffer, _ byte) {
		w.Text(unix.NFTA_EXPR_NAME, name)
		start := w.Nest(unix.NFTA_EXPR_DATA)
		data(w)
		w.EndNest(start)
	}
}

// Source loads the packet's source address.
func (t *Table) Source(reg int) Expr { return t.address(reg, 12, 8) }

// Destination loads the packet's destination address.
func (t *Table) Destination(reg int) Expr { return t.address(reg, 16, 24) }

func (t *Table) address(reg int, offset4, offset6 uint32) Expr {
	offset := offset4
	if t.V6() {
		offset = offset6
	}
	return library(&expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseNetworkHeader,
		Offset: offset, Len: uint32(t.AddrLen()), DestRegister: register(reg)})
}

// Protocol loads the protocol of the transport layer.
func Protocol(reg int) Expr {
	return library(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(reg)})
}

// DestinationPort loads the destination port.
func DestinationPort(reg int) Expr {
	return library(&expr.Payload{OperationType: expr.PayloadLoad, Base: expr.PayloadBaseTransportHeader,
		Offset: 2, Len: 2, DestRegister: register(reg)})
}

// Input loads the index of the link that the packet comes in by.
func Input() Expr { return library(&expr.Meta{Key: expr.MetaKeyIIF, Register: 1}) }

// InputName loads the name of that link, in unix.IFNAMSIZ bytes.
func InputName() Expr { return library(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}) }

// Output loads the index of the link that the packet leaves by.
func Output() Expr { return library(&expr.Meta{Key: expr.MetaKeyOIF, Register: 1}) }

// DestinationType loads the type of the route to the packet's destination, such as
// unix.RTN_LOCAL, in the host's byte order.
func DestinationType() Expr {
	return library(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true})
}

// LoadMark loads the packet's mark, in the host's byte order.
func LoadMark(reg int) Expr {
	return library(&expr.Meta{Key: expr.MetaKeyMARK, Register: register(reg)})
}

// StoreMark gives the packet the mark that is loaded.
func StoreMark() Expr {
	return library(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})
}

// Load loads a constant.
func Load(data []byte) Expr { return library(&expr.Immediate{Register: 1, Data: data}) }

// SetBits makes those bits of a number that are in mask equal to value.
func SetBits(mask, value uint32) Expr {
	return library(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(^mask), Xor: native(value)})
}

// Random loads a random number below n, in the host's byte order.
func Random(reg int, n uint32) Expr {
	return library(&expr.Numgen{Register: register(reg), Modulus: n, Type: unix.NFT_NG_RANDOM})
}

// Mask keeps the bits in m of what a register and those behind it hold.
func Mask(reg int, m []byte) Expr {
	return library(&expr.Bitwise{SourceRegister: register(reg), DestRegister: register(reg), Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))})
}

// Prefix returns n bytes of which the first bits are set, for Mask.
func Prefix(n, bits int) []byte {
	m := make([]byte, n)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// Equals goes on with the rule if the data is what is loaded.
func Equals(data []byte) Expr { return EqualsAt(0, data) }

// EqualsAt goes on with the rule if the data is what a register and those behind it
// hold.
func EqualsAt(reg int, data []byte) Expr {
	return library(&expr.Cmp{Op: expr.CmpOpEq, Register: register(reg), Data: data})
}

// Differs goes on with the rule if the data is not what is loaded.
func Differs(data []byte) Expr { return library(&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data}) }

// Translated goes on with the rule if the connection's destination was translated.
func Translated() []Expr {
	const dstNAT = 0x20 // IPS_DST_NAT
	return []Expr{library(&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}), Mask(0, native(dstNAT)), Differs(native(0))}
}

// In goes on with the rule if the key that starts in a register is in the set.
func In(s *Set, key int) Expr { return lookup(s, key, nil) }

// DataOf loads what a map holds for the key that starts in a register into another,
// and goes on with the rule if it has the key.
func DataOf(s *Set, key, dest int) Expr {
	reg := register(dest)
	return lookup(s, key, &reg)
}

// VerdictOf does what a map of verdicts holds for the key in the first registers.
func VerdictOf(s *Set) Expr {
	reg := uint32(unix.NFT_REG_VERDICT)
	return lookup(s, 0, &reg)
}

func lookup(s *Set, key int, dest *uint32) Expr {
	return own("lookup", func(w *netlink.Buffer) {
		w.Text(unix.NFTA_LOOKUP_SET, s.Name)
		w.Number(unix.NFTA_LOOKUP_SREG, register(key))
		if dest != nil {
			w.Number(unix.NFTA_LOOKUP_DREG, *dest)
		}
	})
}

const dynsetDelete = 2 // NFT_DYNSET_OP_DELETE

// Learn adds an element to a dynamic map, from key and data that start in registers,
// unless the map has the key. The element times out after some seconds.
func Learn(s *Set, key, data int, seconds int32) Expr {
	return dynset(s, unix.NFT_DYNSET_OP_ADD, key, data, seconds)
}

// Refresh is Learn that also begins the time of an element anew that is there.
func Refresh(s *Set, key, data int, seconds int32) Expr {
	return dynset(s, unix.NFT_DYNSET_OP_UPDATE, key, data, seconds)
}

// Forget deletes an element of a dynamic map.
func Forget(s *Set, key, data int) Expr { return dynset(s, dynsetDelete, key, data, 0) }

func dynset(s *Set, op uint32, key, data int, seconds int32) Expr {
	return own("dynset", func(w *netlink.Buffer) {
		w.Text(unix.NFTA_DYNSET_SET_NAME, s.Name)
		w.Number(unix.NFTA_DYNSET_OP, op)
		w.Number(unix.NFTA_DYNSET_SREG_KEY, register(key))
		w.Number(unix.NFTA_DYNSET_SREG_DATA, register(data))
		if seconds > 0 {
			w.Attr(unix.NFTA_DYNSET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(seconds)*1000))
		}
	})
}

// TranslateDestination gives the packet the address that starts in a register, and the
// port in the one behind it.
func (t *Table) TranslateDestination(reg int) Expr {
	return library(&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: register(reg), RegProtoMin: register(reg + t.Words())})
}

// Masquerade gives the packet an address of the node and a random port as its source.
func Masquerade() Expr { return library(&expr.Masq{FullyRandom: true}) }

// Jump goes on with a chain, and comes back if that says nothing.
func Jump(chain string) Expr { return library(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}) }

// Goto goes on with a chain, and does not come back.
func Goto(chain string) Expr { return library(&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}) }

// Accept lets the packet go on behind the base chain.
func Accept() Expr { return library(&expr.Verdict{Kind: expr.VerdictAccept}) }

// Drop drops the packet.
func Drop() Expr { return library(&expr.Verdict{Kind: expr.VerdictDrop}) }

// Return goes back to the chain that jumped here.
func Return() Expr { return library(&expr.Verdict{Kind: expr.VerdictReturn}) }

// RejectTCP answers with a reset.
func RejectTCP() Expr {
	const tcpReset = 1
	return own("reject", func(w *netlink.Buffer) { w.Number(unix.NFTA_REJECT_TYPE, tcpReset) })
}

// RejectPort answers by ICMP that the port is unreachable.
func (t *Table) RejectPort() Expr {
	const unreachable = 0
	code := byte(3)
	if t.V6() {
		code = 4
	}
	return own("reject", func(w *netlink.Buffer) {
		w.Number(unix.NFTA_REJECT_TYPE, unreachable)
		w.Attr(unix.NFTA_REJECT_ICMP_CODE, []byte{code})
	})
}

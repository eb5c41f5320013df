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

// Expr is an expression of a rule. Those without a register argument load into the first
// register, or use it.
type Expr func(w *netlink.Buffer, family byte)

// register returns the number of the n-th register of 4 bytes. The kernel reports every
// fourth one by its old number for registers of 16 bytes. So does this package, because
// rules that are read back are compared with those that were sent.
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

// own encodes an expression for which the library would send attributes that the kernel
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

// Input loads the index of the input interface.
func Input() Expr { return library(&expr.Meta{Key: expr.MetaKeyIIF, Register: 1}) }

// InputName loads the name of the input interface, in unix.IFNAMSIZ bytes.
func InputName() Expr { return library(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}) }

// Output loads the index of the output interface.
func Output() Expr { return library(&expr.Meta{Key: expr.MetaKeyOIF, Register: 1}) }

// DestinationType loads the type of the route to the packet's destination, such as
// unix.RTN_LOCAL, in the host's byte order.
func DestinationType() Expr {
	return library(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true})
}

// SourceType is DestinationType for the packet's source.
func SourceType() Expr {
	return library(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true})
}

// LoadMark loads the packet's mark, in the host's byte order.
func LoadMark(reg int) Expr {
	return library(&expr.Meta{Key: expr.MetaKeyMARK, Register: register(reg)})
}

// StoreMark sets the packet's mark to the loaded value.
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

// Mask applies the bit mask m to a register and those after it.
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

// Equals continues with the rule if data is equal to the loaded value.
func Equals(data []byte) Expr { return EqualsAt(0, data) }

// EqualsAt continues with the rule if data is equal to the value that starts in a
// register.
func EqualsAt(reg int, data []byte) Expr {
	return library(&expr.Cmp{Op: expr.CmpOpEq, Register: register(reg), Data: data})
}

// Differs continues with the rule if data is not equal to the loaded value.
func Differs(data []byte) Expr { return library(&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data}) }

// Translated continues with the rule if the connection's destination was translated.
func Translated() []Expr {
	const dstNAT = 0x20 // IPS_DST_NAT
	return []Expr{library(&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}), Mask(0, native(dstNAT)), Differs(native(0))}
}

// Reply continues with the rule if the packet is a reply to the first one of its connection.
func Reply() []Expr {
	const reply = 1 // IP_CT_DIR_REPLY
	return []Expr{library(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}), Equals([]byte{reply})}
}

// In continues with the rule if the key that starts in a register is in the set.
func In(s *Set, key int) Expr { return lookup(s, key, nil) }

// DataOf looks up the key that starts in a register in a map, and loads the value into
// another register. It continues with the rule if the map has the key.
func DataOf(s *Set, key, dest int) Expr {
	reg := register(dest)
	return lookup(s, key, &reg)
}

// VerdictOf applies the verdict that a map holds for the key in the first registers.
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

// Refresh is Learn, but restarts the timeout of an existing element.
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

// TranslateDestination sets the packet's destination to the address that starts in a
// register and the port in the next one.
func (t *Table) TranslateDestination(reg int) Expr {
	return library(&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: register(reg), RegProtoMin: register(reg + t.Words())})
}

// Masquerade sets the packet's source to an address of the node and a random port.
func Masquerade() Expr { return library(&expr.Masq{FullyRandom: true}) }

// Jump continues at a chain, and returns if that has no verdict.
func Jump(chain string) Expr { return library(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}) }

// Goto continues at a chain, without return.
func Goto(chain string) Expr { return library(&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}) }

// Accept ends the evaluation of the base chain; later base chains still see the packet.
func Accept() Expr { return library(&expr.Verdict{Kind: expr.VerdictAccept}) }

// Drop drops the packet.
func Drop() Expr { return library(&expr.Verdict{Kind: expr.VerdictDrop}) }

// Return returns to the calling chain.
func Return() Expr { return library(&expr.Verdict{Kind: expr.VerdictReturn}) }

// RejectTCP answers with a TCP reset.
func RejectTCP() Expr {
	const tcpReset = 1
	return own("reject", func(w *netlink.Buffer) { w.Number(unix.NFTA_REJECT_TYPE, tcpReset) })
}

// RejectPort answers with ICMP port unreachable.
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

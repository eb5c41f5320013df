// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The kernel runs a program of classic BPF on each message, for each connection of the node.
// So the program is short, and lets through what it does not understand: who receives a message looks again.
const (
	drop   = 0
	accept = 1<<32 - 1

	familyOffset     = 16 // of struct nfgenmsg, behind the header
	attributesOffset = 20
	valueOffset      = 4 // behind the header of an attribute
)

// maxSelected is how many clients and destinations the program compares. A socket has little room for
// a program (net.core.optmem_max), and an event is compared with all.
const maxSelected = 64

// The places in the program's memory. An address is four words; those of IPv4 have three zeros.
const (
	scratchOriginal  = 0 // offsets of attributes
	scratchReply     = 1
	scratchNest      = 2
	scratchHalf      = 3
	scratchPort      = 4 // where the client sends to, with the protocol
	scratchReplyPort = 5 // where it is forwarded to
	scratchTo        = 6
	scratchFrom      = 10

	words = 4
)

type instructions = []bpf.Instruction

// programOf returns the program of a selection.
func programOf(s Selection) ([]bpf.RawInstruction, error) {
	p := slices.Concat(
		find(bpf.ExtNetlinkAttr, bpf.LoadConstant{Val: attributesOffset}, nl.CTA_TUPLE_ORIG, scratchOriginal, accept),
		find(bpf.ExtNetlinkAttr, bpf.LoadConstant{Val: attributesOffset}, nl.CTA_TUPLE_REPLY, scratchReply, accept),
		address(scratchOriginal, nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, scratchTo),
		address(scratchReply, nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, scratchFrom), // until it is compared
		port(scratchOriginal, nl.CTA_PROTO_DST_PORT, scratchPort),
		port(scratchReply, nl.CTA_PROTO_SRC_PORT, scratchReplyPort),
		untranslated(),
	)
	if s.Clients != nil && len(s.Clients) <= maxSelected {
		p = append(p, address(scratchOriginal, nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, scratchFrom)...)
		p = append(p, among(s.Clients)...)
	}
	if s.Destinations != nil && len(s.Destinations) <= maxSelected {
		for _, d := range s.Destinations {
			p = append(p, to(d)...)
		}
		p = append(p, bpf.RetConstant{Val: drop})
	} else {
		p = append(p, bpf.RetConstant{Val: accept})
	}
	return bpf.Assemble(p)
}

// find stores the offset of an attribute, in a message (ExtNetlinkAttr) or in another attribute, whose
// offset load loads. It ends the program for a message without the attribute.
func find(how bpf.Extension, load bpf.Instruction, attribute, at int, without uint32) instructions {
	return instructions{
		load,
		bpf.LoadConstant{Dst: bpf.RegX, Val: uint32(attribute)},
		bpf.LoadExtension{Num: how},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: without},
		bpf.StoreScratch{N: at},
	}
}

func nested(in, attribute, at int, without uint32) instructions {
	return find(bpf.ExtNetlinkAttrNested, bpf.LoadScratch{N: in}, attribute, at, without)
}

// address stores an address of a tuple.
func address(tuple, v4, v6, at int) instructions {
	load := func(attribute, n int) instructions {
		p := append(nested(scratchNest, attribute, scratchNest, accept), bpf.LoadScratch{Dst: bpf.RegX, N: scratchNest})
		for i := range words {
			word := bpf.Instruction(bpf.LoadConstant{Val: 0})
			if i < n {
				word = bpf.LoadIndirect{Off: uint32(valueOffset + 4*i), Size: 4}
			}
			p = append(p, word, bpf.StoreScratch{N: at + i})
		}
		return p
	}
	short, long := load(v4, 1), load(v6, words)
	return slices.Concat(nested(tuple, nl.CTA_TUPLE_IP, scratchNest, accept), instructions{
		bpf.LoadAbsolute{Off: familyOffset, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipFalse: uint8(len(short) + 1)},
	}, short, instructions{bpf.Jump{Skip: uint32(len(long))}}, long)
}

// port stores a port of a tuple, with the protocol. No Service has a protocol without ports.
func port(tuple, attribute, at int) instructions {
	value := func(attribute, size int) instructions {
		return append(nested(scratchNest, attribute, at, drop), bpf.TAX{}, bpf.LoadIndirect{Off: valueOffset, Size: size})
	}
	return slices.Concat(nested(tuple, nl.CTA_TUPLE_PROTO, scratchNest, accept),
		value(attribute, 2), instructions{bpf.StoreScratch{N: scratchHalf}},
		value(nl.CTA_PROTO_NUM, 1), instructions{
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 16},
			bpf.LoadScratch{Dst: bpf.RegX, N: scratchHalf},
			bpf.ALUOpX{Op: bpf.ALUOpOr},
			bpf.StoreScratch{N: at},
		})
}

// untranslated drops flows that go where the client sends them to.
func untranslated() instructions {
	p := instructions{bpf.RetConstant{Val: drop}}
	compare := func(a, b int) {
		p = append(instructions{bpf.LoadScratch{N: a}, bpf.LoadScratch{Dst: bpf.RegX, N: b},
			bpf.JumpIfX{Cond: bpf.JumpNotEqual, SkipTrue: uint8(len(p))}}, p...)
	}
	for i := range words {
		compare(scratchTo+i, scratchFrom+i)
	}
	compare(scratchPort, scratchReplyPort)
	return p
}

// among drops flows of other clients.
func among(clients []netip.Addr) instructions {
	p := instructions{bpf.RetConstant{Val: drop}}
	for _, c := range slices.Backward(clients) {
		p = append(is(c, scratchFrom, instructions{bpf.Jump{Skip: uint32(len(p))}}), p...)
	}
	return p
}

// to accepts flows to a destination.
func to(d Destination) instructions {
	then := instructions{bpf.RetConstant{Val: accept}}
	if !d.Address.IsUnspecified() {
		then = is(d.Address, scratchTo, then)
	}
	return equal(scratchPort, uint32(d.Protocol)<<16|uint32(d.Port), then)
}

// is does something if an address is that at a place.
func is(a netip.Addr, at int, then instructions) instructions {
	var value [4 * words]byte
	copy(value[:], a.AsSlice())
	for i := words - 1; i >= 0; i-- {
		then = equal(at+i, binary.BigEndian.Uint32(value[4*i:]), then)
	}
	return then
}

// equal does something if a word has a value.
func equal(at int, value uint32, then instructions) instructions {
	return append(instructions{bpf.LoadScratch{N: at}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: uint8(len(then))}}, then...)
}

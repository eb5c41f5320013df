// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A client that is not allowed to use a frontend gets no answer at all. A listening socket
// answers before a process sees the client, so it has a classic BPF filter, which the
// kernel runs for each packet, including the first one of a TCP client.

const (
	// networkHeader is the offset of a packet's IP header for a filter (SKF_NET_OFF).
	networkHeader = 0xfff00000

	// maxProgram is the maximum number of instructions (BPF_MAXINSNS). If there are more
	// source ranges than fit, the proxy itself refuses clients that are not allowed: they
	// get a reset instead of no answer.
	maxProgram = 4096

	accept = 0xffffffff
)

// program returns the filter of a frontend; nil: it needs none. header is the offset of
// the IP header.
func program(f *model.Frontend, in *inside, header uint32) []bpf.Instruction {
	p := &assembler{family4: f.Key.Address.Is4(), header: header}
	if f.Restricted {
		sources := f.Sources
		if f.Key.IsNodePort() {
			p.ifBy(in.loopback)
			sources = in.nodePortSources
		}
		for _, source := range sources {
			if source.Addr().Is4() == p.family4 {
				p.ifFrom(source)
			}
		}
		p.elseDrop()
	}
	internal, external := f.Internal.Verdict == model.Drop, f.External.Verdict == model.Drop
	switch {
	case internal && external:
		p.add(bpf.RetConstant{})
	case internal || external:
		for _, pods := range in.podCIDRs {
			if pods.Addr().Is4() == p.family4 {
				p.ifFrom(pods)
			}
		}
		p.ifBy(in.loopback)
		for _, l := range in.podLinks {
			p.ifBy(l)
		}
		if external {
			p.elseDrop()
		} else {
			p.add(bpf.RetConstant{Val: accept})
			p.land()
			p.add(bpf.RetConstant{})
		}
	}
	if len(p.code) == 0 || len(p.code) >= maxProgram {
		return nil
	}
	return append(p.code, bpf.RetConstant{Val: accept})
}

// assembler writes a program of stages. A stage is a list of conditions; the first one
// that holds jumps to the end of the stage.
type assembler struct {
	family4 bool
	header  uint32
	code    []bpf.Instruction
	jumps   []int // to the end of the stage
}

func (p *assembler) add(i ...bpf.Instruction) { p.code = append(p.code, i...) }

// then ends a condition: it jumps if the condition holds. It is a jump of its own, because
// a conditional jump reaches 255 instructions only.
func (p *assembler) then() {
	p.jumps = append(p.jumps, len(p.code))
	p.add(bpf.Jump{})
}

// land ends the stage.
func (p *assembler) land() {
	for _, at := range p.jumps {
		p.code[at] = bpf.Jump{Skip: uint32(len(p.code) - at - 1)}
	}
	p.jumps = nil
}

// elseDrop ends the stage, and drops the packet if no condition holds.
func (p *assembler) elseDrop() {
	p.add(bpf.RetConstant{})
	p.land()
}

// ifBy is the condition that the packet arrived by a link.
func (p *assembler) ifBy(link int) {
	p.add(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(link), SkipFalse: 1})
	p.then()
}

// ifFrom is the condition that the packet's source is in a range, compared word by word.
func (p *assembler) ifFrom(source netip.Prefix) {
	offset, bits, address := uint32(8), source.Bits(), source.Addr().AsSlice()
	if p.family4 {
		offset = 12
	}
	var compare []bpf.Instruction
	for word := 0; bits > 0; word, bits = word+1, bits-32 {
		mask := ^uint32(0)
		if bits < 32 {
			mask <<= 32 - bits
		}
		compare = append(compare, bpf.LoadAbsolute{Off: p.header + offset + uint32(4*word), Size: 4})
		if mask != ^uint32(0) {
			compare = append(compare, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
		}
		compare = append(compare, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(address[4*word:]) & mask})
	}
	for i := range compare {
		if jump, ok := compare[i].(bpf.JumpIf); ok {
			jump.SkipFalse = uint8(len(compare) - i) // over the rest, and the jump after it
			compare[i] = jump
		}
	}
	p.add(compare...)
	p.then()
}

// attach gives a socket a filter, which replaces an existing one; nil removes it.
func attach(fd int, code []bpf.RawInstruction) error {
	if len(code) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if err == unix.ENOENT { // it has none
			return nil
		}
		return err
	}
	instructions := make([]unix.SockFilter, len(code))
	for i, raw := range code {
		instructions[i] = unix.SockFilter{Code: raw.Op, Jt: raw.Jt, Jf: raw.Jf, K: raw.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(instructions)), Filter: &instructions[0]})
	if err != nil {
		return fmt.Errorf("attach the filter of source ranges, whose size net.core.optmem_max limits: %w", err)
	}
	return nil
}

// assemble returns the filter of a frontend in the form that the kernel takes.
func assemble(f *model.Frontend, in *inside) ([]bpf.RawInstruction, error) {
	code, err := bpf.Assemble(program(f, in, networkHeader))
	if err != nil {
		return nil, fmt.Errorf("filter of %s: %w", f.Key, err)
	}
	return code, nil
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Attribute numbers that x/sys/unix does not define.
const (
	tableUserdata = 6 // NFTA_TABLE_USERDATA
	setKeyLen     = 5 // NFTA_SET_KEY_LEN
	setDataType   = 6 // NFTA_SET_DATA_TYPE
	setDataLen    = 7 // NFTA_SET_DATA_LEN
)

// Table describes a table of one family. Its methods describe its contents.
type Table struct {
	Family byte // unix.NFPROTO_IPV4 or NFPROTO_IPV6
	Name   string
	attrs  []byte // as in a message that adds it
}

// NewTable describes a table. `nft list ruleset` prints the comment. A dormant table
// never sees a packet.
func NewTable(family byte, name, comment string, dormant bool) *Table {
	flags := uint32(0)
	if dormant {
		flags = unix.NFT_TABLE_F_DORMANT
	}
	var w netlink.Buffer
	w.Text(unix.NFTA_TABLE_NAME, name)
	w.Number(unix.NFTA_TABLE_FLAGS, flags)
	w.Attr(tableUserdata, commentUserdata(comment))
	return &Table{family, name, w.B}
}

// String returns for example "ip6 filter".
func (t *Table) String() string {
	if t.V6() {
		return "ip6 " + t.Name
	}
	return "ip " + t.Name
}

// V6 says whether the table is for IPv6.
func (t *Table) V6() bool { return t.Family == unix.NFPROTO_IPV6 }

// AddrLen is the length of an address in bytes.
func (t *Table) AddrLen() int {
	if t.V6() {
		return 16
	}
	return 4
}

// Words is the number of registers of an address.
func (t *Table) Words() int { return t.AddrLen() / 4 }

// named returns the attribute with the table's name. It has the same number in messages
// about tables, sets, chains and rules. In a request for a dump it is a filter, which
// older kernels ignore for some kinds of objects.
func (t *Table) named() []byte {
	var w netlink.Buffer
	w.Text(unix.NFTA_TABLE_NAME, t.Name)
	return w.B
}

// has says whether an object in a dump belongs to the table.
func (t *Table) has(got []byte) bool {
	return netlink.Text(netlink.Find(got, unix.NFTA_TABLE_NAME)) == t.Name
}

// Set describes a set or a map.
type Set struct {
	Table *Table
	Name  string
	attrs []byte // as in a message that adds it
	isMap bool
}

// String returns for example "ip6 filter set addresses".
func (s *Set) String() string { return s.Table.String() + " set " + s.Name }

// SetSpec describes a set.
type SetSpec struct {
	Name     string
	Key      []Field
	Data     []Field // of a map from keys to data
	Verdicts bool    // a map from keys to verdicts
	Dynamic  int     // maximum number of elements that rules may add, which time out
}

// NewSet describes a set of the table.
func (t *Table) NewSet(spec SetSpec) *Set {
	var w netlink.Buffer
	w.Text(unix.NFTA_SET_TABLE, t.Name)
	w.Text(unix.NFTA_SET_NAME, spec.Name)
	// Sent only if there are flags, as the kernel does. See HeldSet.Is.
	isMap := spec.Verdicts || spec.Data != nil
	switch {
	case spec.Dynamic > 0:
		w.Number(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP|unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL)
		start := w.Nest(unix.NFTA_SET_DESC)
		w.Number(unix.NFTA_SET_DESC_SIZE, uint32(spec.Dynamic))
		w.EndNest(start)
	case isMap:
		w.Number(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
	}
	keyType, keyLen := concat(spec.Key)
	w.Number(unix.NFTA_SET_KEY_TYPE, keyType)
	w.Number(setKeyLen, keyLen)
	switch {
	case spec.Verdicts:
		w.Number(setDataType, typeVerdict)
	case spec.Data != nil:
		dataType, dataLen := concat(spec.Data)
		w.Number(setDataType, dataType)
		w.Number(setDataLen, dataLen)
		if slices.ContainsFunc(spec.Key, func(f Field) bool { return f.typ == typeInteger }) {
			w.Attr(unix.NFTA_SET_USERDATA, typeofUserdata(spec.Key, spec.Data))
		}
	}
	return &Set{Table: t, Name: spec.Name, attrs: w.B, isMap: isMap}
}

// Chain describes a chain with its rules.
type Chain struct {
	Table *Table
	Name  string
	Rules []Rule
	attrs []byte // as in a message that adds it
	base  bool
}

// String returns for example "ip6 filter chain input".
func (c *Chain) String() string { return c.Table.String() + " chain " + c.Name }

// IsBase says whether the chain has a hook.
func (c *Chain) IsBase() bool { return c.base }

// Hook is the hook and priority of a base chain.
type Hook struct {
	Number   uint32 // such as unix.NF_INET_PRE_ROUTING
	Priority int32
	Filter   bool // type filter: it sees every packet; otherwise nat: the first one of a connection
}

// NewChain describes a chain of the table; at is nil unless it is a base chain, whose
// policy is accept. The name must not be a keyword of nft.
func (t *Table) NewChain(name string, at *Hook, rules ...Rule) *Chain {
	var w netlink.Buffer
	w.Text(unix.NFTA_CHAIN_TABLE, t.Name)
	w.Text(unix.NFTA_CHAIN_NAME, name)
	if at != nil {
		start := w.Nest(unix.NFTA_CHAIN_HOOK)
		w.Number(unix.NFTA_HOOK_HOOKNUM, at.Number)
		w.Number(unix.NFTA_HOOK_PRIORITY, uint32(at.Priority))
		w.EndNest(start)
		w.Number(unix.NFTA_CHAIN_POLICY, 1) // accept
		w.Text(unix.NFTA_CHAIN_TYPE, map[bool]string{false: "nat", true: "filter"}[at.Filter])
	}
	return &Chain{Table: t, Name: name, Rules: rules, attrs: w.B, base: at != nil}
}

// Rule describes a rule: expressions and a comment.
type Rule struct {
	exprs   []byte // list of elements, as in NFTA_RULE_EXPRESSIONS
	comment string
}

// NewRule describes a rule. It panics on an expression that cannot be encoded.
func (t *Table) NewRule(comment string, exprs ...Expr) Rule {
	var w netlink.Buffer
	for _, e := range exprs {
		start := w.Nest(unix.NFTA_LIST_ELEM)
		e(&w, t.Family)
		w.EndNest(start)
	}
	return Rule{exprs: w.B, comment: comment}
}

// Equal says whether two descriptions are equal.
func (r Rule) Equal(o Rule) bool {
	return string(r.exprs) == string(o.exprs) && r.comment == o.comment
}

// userdata returns the comment in nft's encoding; nil if there is none.
func (r Rule) userdata() []byte {
	if r.comment == "" {
		return nil
	}
	return commentUserdata(r.comment)
}

func commentUserdata(comment string) []byte { return udata(0, append([]byte(comment), 0)) }

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// tableName is the name of our table in each of the two families.
const tableName = "fairlead"

// tableComment is printed by `nft list ruleset`. It carries the version of the
// layout: a table with another comment is replaced as a whole.
var tableComment = [...]string{
	balancing:   "managed by fairlead-agent, manual edits are reverted (layout 3)",
	classifying: "managed by fairlead-agent, manual edits are reverted (layout 3 for IPVS)",
}

// layout is what a table is for.
type layout int

const (
	balancing   layout = iota // it leads packets to endpoints itself
	classifying               // it prepares them for IPVS, see Classifier
	layouts
)

// The numbers that nft has for the types of keys and values, in 6 bits each.
const (
	typeIPv4    = 7
	typeIPv6    = 8
	typeProto   = 12
	typeService = 13
	typeMark    = 19
	typeInteger = 4
	typeVerdict = 0xffffff00
)

// view is one of the two ways to see a frontend. See rules.Frontend.
type view int

const (
	internal view = iota
	external
	views
)

// where says whether a frontend is an address with a port, or a node port.
type where int

const (
	onAddress where = iota
	onNodePort
	wheres
)

// set is a set or map of the table. Its content is the only thing that depends
// on the Services.
type set struct {
	table *table
	name  string
	attrs []byte // as in a message that creates it
	isMap bool
}

func (s *set) String() string { return s.table.String() + " set " + s.name }

// table is the layout of one family: everything that does not change.
type table struct {
	family  byte // unix.NFPROTO_IPV4 or NFPROTO_IPV6
	name    string
	layout  layout
	attrs   []byte
	dormant bool

	// verdicts says for each frontend which chain takes its packets; endpoints
	// says for each frontend and number which endpoint that is.
	verdicts  [wheres][views]*set
	endpoints [wheres][views]*set // when balancing

	// marks says for each frontend which firewall mark packets from outside get.
	marks    [wheres]*set // when classifying
	assigned assignedMarks

	clusterIPs *set
	nodePorts  *set // the addresses that node ports answer on
	hairpin    *set

	// Frontends in restricted are for those sources only that are in one of the
	// sets sources, by the length of a range. Those are made as they are needed.
	restricted *set
	sources    map[int]*set

	// affinity remembers the endpoints of clients. affinityPorts says for each
	// frontend under which Service's port, choices which endpoints a new client
	// can get, and affine which ones a known client can still use.
	affinity        *set
	affinityPorts   [wheres]*set
	choices, affine [wheres][views]*set

	sets   []*set
	chains []*chain // the constant ones, except those that depend on NodeSettings
}

func (t *table) String() string { return t.familyName() + " " + t.name }

func (t *table) familyName() string {
	if t.v6() {
		return "ip6"
	}
	return "ip"
}

func (t *table) v6() bool { return t.family == unix.NFPROTO_IPV6 }

// addrLen is the length of an address in bytes.
func (t *table) addrLen() int {
	if t.v6() {
		return 16
	}
	return 4
}

func (t *table) addrType() uint32 {
	if t.v6() {
		return typeIPv6
	}
	return typeIPv4
}

// newTable lays out the table of a family. A dormant table never sees a packet.
func newTable(family byte, name string, layout layout, dormant bool) *table {
	t := &table{family: family, name: name, layout: layout, dormant: dormant, assigned: assignedMarks{}}
	flags := uint32(0)
	if dormant {
		flags = unix.NFT_TABLE_F_DORMANT
	}
	t.describe(tableComment[layout], flags)

	for v, suffix := range []string{internal: "", external: "-external"} {
		for at, names := range [][2]string{onAddress: {"services", "endpoints"}, onNodePort: {"nodeports", "nodeport-endpoints"}} {
			withAddr := where(at) == onAddress
			t.verdicts[at][v] = t.addSet(setSpec{
				name: names[0] + suffix, key: t.keyFields(withAddr, false), verdicts: true})
			if layout == balancing {
				t.endpoints[at][v] = t.addSet(setSpec{
					name: names[1] + suffix, key: t.keyFields(withAddr, true), data: t.endpointFields()})
			}
		}
	}
	t.clusterIPs = t.addSet(setSpec{name: "cluster-ips", key: []field{t.daddr()}})
	t.nodePorts = t.addSet(setSpec{name: "nodeport-addresses", key: []field{t.daddr()}})
	t.hairpin = t.addSet(setSpec{name: "hairpin", key: []field{t.daddr(), t.daddr()}})
	t.restricted = t.addSet(setSpec{name: "restricted", key: t.keyFields(true, false)})
	t.sources = map[int]*set{}
	if layout == balancing {
		t.addAffinitySets()
	} else {
		t.addMarkSets()
	}
	t.chains = t.constantChains()
	return t
}

// describe fills in what is said of the table in a message that creates it.
func (t *table) describe(comment string, flags uint32) {
	var w buffer
	w.text(unix.NFTA_TABLE_NAME, t.name)
	w.number(unix.NFTA_TABLE_FLAGS, flags)
	w.attr(tableUserdata, udata(0, append([]byte(comment), 0)))
	t.attrs = w.b
}

// setSpec is what a set is made of.
type setSpec struct {
	name     string
	key      []field
	data     []field // of a map of data
	verdicts bool    // a map of verdicts
	dynamic  int     // how many elements rules may add, which time out
}

// addSet adds a set to the layout.
func (t *table) addSet(spec setSpec) *set {
	s := t.set(spec)
	t.sets = append(t.sets, s)
	return s
}

// set lays out a set.
func (t *table) set(spec setSpec) *set {
	var w buffer
	w.text(unix.NFTA_SET_TABLE, t.name)
	w.text(unix.NFTA_SET_NAME, spec.name)
	// Sent only if there are flags, as the kernel does. See readSets.
	isMap := spec.verdicts || spec.data != nil
	switch {
	case spec.dynamic > 0:
		w.number(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP|unix.NFT_SET_TIMEOUT|unix.NFT_SET_EVAL)
		start := w.nest(unix.NFTA_SET_DESC)
		w.number(unix.NFTA_SET_DESC_SIZE, uint32(spec.dynamic))
		w.endNest(start)
	case isMap:
		w.number(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
	}
	keyType, keyLen := concat(spec.key)
	w.number(unix.NFTA_SET_KEY_TYPE, keyType)
	w.number(setKeyLen, keyLen)
	switch {
	case spec.verdicts:
		w.number(setDataType, typeVerdict)
	case spec.data != nil:
		dataType, dataLen := concat(spec.data)
		w.number(setDataType, dataType)
		w.number(setDataLen, dataLen)
		if slices.ContainsFunc(spec.key, func(f field) bool { return f.typ == typeInteger }) {
			w.attr(unix.NFTA_SET_USERDATA, typeofUserdata(spec.key, spec.data))
		}
	}
	return &set{table: t, name: spec.name, attrs: w.b, isMap: isMap}
}

// concat returns the type and the length of a concatenation. Each field starts
// at a register of 4 bytes.
func concat(fields []field) (typ, length uint32) {
	for _, f := range fields {
		typ = typ<<6 | f.typ
		length += uint32(align(f.len))
	}
	return typ, length
}

// field is a part of a key or a value.
type field struct {
	typ   uint32
	len   int
	udata []byte // how nft writes down the expression that yields it
}

// daddr is a destination address.
func (t *table) daddr() field {
	if t.v6() {
		return t.addrField(13, 9) // ip6, daddr
	}
	return t.addrField(12, 12) // ip, daddr
}

// saddr is a source address.
func (t *table) saddr() field {
	if t.v6() {
		return t.addrField(13, 8) // ip6, saddr
	}
	return t.addrField(12, 11) // ip, saddr
}

func (t *table) addrField(header, position uint32) field {
	return field{t.addrType(), t.addrLen(), payloadUserdata(header, position)}
}

// number is what comes from a number generator.
func number() field {
	const exprNumgen, numgenRandom = 23, 1
	data := slices.Concat(udata(0, native(numgenRandom)), udata(1, native(0xffff)), udata(2, native(0)))
	return field{typeInteger, 4, exprUserdata(exprNumgen, data)}
}

func protocol() field { // meta l4proto
	const exprMeta, metaL4Proto = 9, 16
	return field{typeProto, 1, exprUserdata(exprMeta, udata(0, native(metaL4Proto)))}
}

func port() field { return field{typeService, 2, payloadUserdata(11, 2)} } // th dport

// keyFields is the key of a frontend, and the number of an endpoint.
func (t *table) keyFields(addr, index bool) []field {
	var out []field
	if addr {
		out = append(out, t.daddr())
	}
	out = append(out, protocol(), port())
	if index {
		out = append(out, number())
	}
	return out
}

func (t *table) endpointFields() []field { return []field{t.daddr(), port()} }

// typeofUserdata writes down the types of a map in the way of nft's `typeof`.
// Without it nft cannot tell how long the integer in a key is, and aborts.
func typeofUserdata(key, data []field) []byte {
	const byteOrderKey, byteOrderData, typeofKey, typeofData, exprConcat = 0, 1, 3, 4, 13
	typeof := func(fields []field) []byte {
		var parts []byte
		for i, f := range fields {
			parts = append(parts, udata(byte(i), f.udata)...)
		}
		return exprUserdata(exprConcat, parts)
	}
	return slices.Concat(
		udata(byteOrderKey, native(0)), udata(byteOrderData, native(0)),
		udata(typeofKey, typeof(key)), udata(typeofData, typeof(data)))
}

// payloadUserdata writes down a field of a protocol's header, by nft's numbers.
func payloadUserdata(header, position uint32) []byte {
	const exprPayload = 7
	return exprUserdata(exprPayload, slices.Concat(udata(0, native(header)), udata(1, native(position))))
}

func exprUserdata(kind uint32, data []byte) []byte {
	return slices.Concat(udata(0, native(kind)), udata(1, data))
}

// udata is an attribute of user data: type and length in a byte each.
func udata(typ byte, data []byte) []byte {
	return append([]byte{typ, byte(len(data))}, data...)
}

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

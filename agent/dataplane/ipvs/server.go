// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// serverKey is the identity of a virtual server: either an address, protocol and
// port, or a family and a firewall mark.
type serverKey struct {
	family corev1.IPFamily
	model.FrontendKey
	mark uint32
}

// onAddress is the key of a virtual server with an address.
func onAddress(k model.FrontendKey) serverKey {
	return serverKey{family: model.FamilyOf(k.Address), FrontendKey: k}
}

// onMark is the key of a virtual server with a firewall mark.
func onMark(family corev1.IPFamily, mark uint32) serverKey {
	return serverKey{family: family, mark: mark}
}

// compare orders keys.
func (k serverKey) compare(o serverKey) int {
	return cmp.Or(k.FrontendKey.Compare(o.FrontendKey), cmp.Compare(k.family, o.family), cmp.Compare(k.mark, o.mark))
}

// String returns for example "10.96.0.10:53/udp" or "mark 0x1000001 (IPv4)".
func (k serverKey) String() string {
	if k.mark != 0 {
		return fmt.Sprintf("mark %#x (%s)", k.mark, k.family)
	}
	return k.FrontendKey.String()
}

// server is the configuration of a virtual server.
type server struct {
	scheduler string

	// flags are those of the scheduler, as the kernel has them.
	flags uint32

	// persistence is how long a client keeps its real server, in seconds; 0: none.
	persistence uint32
}

// virtualServer is a virtual server in the kernel.
type virtualServer struct {
	key serverKey
	server
}

// realServer is a real server in the kernel. All use the masquerading method.
type realServer struct {
	endpoint model.Endpoint

	// weight is 1, or 0 for a real server that gets no new connections.
	weight int

	// active and inactive are the numbers of its connections; inactive includes those that
	// are closing, and all of UDP.
	active, inactive int
}

func (r realServer) idle() bool { return r.active+r.inactive == 0 }

// The flags of virtual servers, from linux/ip_vs.h.
const (
	flagPersistent = 0x0001
	flagScheduler1 = 0x0008
	flagScheduler2 = 0x0010
	flagScheduler3 = 0x0020
	schedulerFlags = flagScheduler1 | flagScheduler2 | flagScheduler3

	// flagOurs marks virtual servers of ours that nothing else shows to be ours: it survives the
	// agent, and the table that had their frontends. No scheduler has a third flag.
	flagOurs = flagScheduler3
)

// flagsOf returns the bits of a scheduler's flags. Each scheduler has two: the first skips
// unusable real servers, the second includes the port in the hash, see ipvsadm(8).
func flagsOf(names []string) (bits uint32) {
	for _, name := range names {
		switch name {
		case "sh-fallback", "mh-fallback":
			bits |= flagScheduler1
		case "sh-port", "mh-port":
			bits |= flagScheduler2
		}
	}
	return bits
}

// kernel is the part of the kernel that holds virtual servers. A call that returns an
// error changes nothing.
type kernel interface {
	// servers returns all virtual servers, but one of them not at all or twice if those of
	// another network namespace change during it: all are in one table, and the kernel
	// continues a list from a position in it (ip_vs_genl_dump_services).
	servers() ([]virtualServer, error)
	// server returns one of them; false if it does not exist.
	server(serverKey) (virtualServer, bool, error)
	// realServers returns the real servers of one of them.
	realServers(serverKey) ([]realServer, error)

	addServer(serverKey, server) error
	setServer(serverKey, server) error
	deleteServer(serverKey) error

	addRealServer(serverKey, realServer) error
	setRealServer(serverKey, realServer) error
	deleteRealServer(serverKey, model.Endpoint) error

	// timeouts returns, and setTimeouts sets, the idle timeouts of connections in seconds;
	// 0 leaves one as it is.
	timeouts() (Timeouts, error)
	setTimeouts(Timeouts) error

	close() error
}

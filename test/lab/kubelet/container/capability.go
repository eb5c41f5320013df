// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// CapabilitySet is a set of Linux capabilities, one bit each.
type CapabilitySet uint64

// AllCapabilities is what a privileged container has.
const AllCapabilities = CapabilitySet(1<<(unix.CAP_LAST_CAP+1) - 1)

// capabilityNames is ordered by the capabilities' numbers, from 0.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID
	SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER
	SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
	WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// defaultCapabilities is what container runtimes leave to an ordinary container.
var defaultCapabilities = strings.Fields(`AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD
	NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT`)

// Capabilities starts from the runtimes' default set, takes away what drop
// names, and adds what add names: ALL stands for every one. Adding wins, as in
// a Pod that drops ALL and adds the one it needs.
func Capabilities(add, drop []string) (CapabilitySet, error) {
	set, err := capabilitySet(defaultCapabilities)
	if err != nil {
		return 0, err
	}
	dropped, err := capabilitySet(drop)
	if err != nil {
		return 0, err
	}
	added, err := capabilitySet(add)
	if err != nil {
		return 0, err
	}
	return set&^dropped | added, nil
}

// Has reports whether the set holds the capability of that number.
func (s CapabilitySet) Has(number int) bool { return s&(1<<number) != 0 }

func capabilitySet(names []string) (CapabilitySet, error) {
	var set CapabilitySet
	for _, name := range names {
		number, err := capabilityNumber(name)
		if err != nil {
			return 0, err
		}
		if number < 0 {
			return AllCapabilities, nil
		}
		set |= 1 << number
	}
	return set, nil
}

// capabilityNumber answers -1 for ALL.
func capabilityNumber(name string) (int, error) {
	bare := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	if bare == "ALL" {
		return -1, nil
	}
	for number, known := range capabilityNames {
		if known == bare {
			return number, nil
		}
	}
	return 0, fmt.Errorf("unknown capability %q", name)
}

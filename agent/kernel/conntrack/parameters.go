// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// maxScaled bounds the limit that follows from the number of cores: a machine with very
// many cores does not need a table of gigabytes.
const maxScaled = 1 << 20

const (
	maxName     = "net/netfilter/nf_conntrack_max"
	bucketsName = "net/netfilter/nf_conntrack_buckets"
)

// Tune sets the kernel parameters of a policy, on a machine with a number of CPUs. A
// parameter that has the value already is not written, and one that the policy does not
// set stays as it is. The error names each parameter that cannot be set; the others are
// set. Those of namespace can be set back; the size of the table, by tree, stays: it may be
// full.
func Tune(tree sysctl.Tree, namespace sysctl.Parameters, o *v1alpha1.ConntrackOptions, cpus int) error {
	if o == nil {
		return nil
	}
	errs := []error{raise(tree, limit(o, cpus))}
	for name, seconds := range map[string]*int32{
		"tcp_timeout_established": o.TCPEstablishedTimeoutSeconds,
		"tcp_timeout_close_wait":  o.TCPCloseWaitTimeoutSeconds,
		"udp_timeout":             o.UDPTimeoutSeconds,
		"udp_timeout_stream":      o.UDPStreamTimeoutSeconds,
	} {
		if seconds != nil && *seconds > 0 { // 0 is none, as in kube-proxy's configuration
			errs = append(errs, set(namespace, "net/netfilter/nf_conntrack_"+name, int(*seconds)))
		}
	}
	if o.TCPBeLiberal != nil {
		liberal := 0
		if *o.TCPBeLiberal {
			liberal = 1
		}
		errs = append(errs, set(namespace, "net/netfilter/nf_conntrack_tcp_be_liberal", liberal))
	}
	return errors.Join(errs...)
}

// limit returns the minimum size of the conntrack table; 0: the policy does not set it. As
// in kube-proxy's configuration, 0 per core means to leave the limit alone, whatever the
// minimum.
func limit(o *v1alpha1.ConntrackOptions, cpus int) (n int) {
	if o.MaxPerCore != nil {
		if n = min(int(*o.MaxPerCore)*cpus, maxScaled); n == 0 {
			return 0
		}
	}
	if o.Min != nil {
		n = max(n, int(*o.Min))
	}
	return n
}

// raise raises the limit, and the size of the hash table with it. Neither is lowered: an
// administrator may have raised it, or the entries exist.
func raise(tree sysctl.Tree, limit int) error {
	if limit == 0 {
		return nil
	}
	if err := atLeast(tree, maxName, limit); err != nil {
		return fmt.Errorf("%w; to keep the node's limit, set maxPerCore to 0", err)
	}
	// A small hash table is slow but works. In a container or a virtual machine that may
	// not change it, this is no error.
	err := atLeast(tree, bucketsName, limit/4)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

func atLeast(tree sysctl.Tree, name string, value int) error {
	now, err := get(tree, name)
	if err != nil || now >= value {
		return err
	}
	return put(tree, name, value, now)
}

func set(tree sysctl.Parameters, name string, value int) error {
	now, err := get(tree, name)
	if err != nil || now == value {
		return err
	}
	return put(tree, name, value, now)
}

func get(tree sysctl.Parameters, name string) (int, error) {
	text, err := tree.Get(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", name, err)
	}
	return n, nil
}

func put(tree sysctl.Parameters, name string, value, now int) error {
	if err := tree.Set(name, strconv.Itoa(value)); err != nil {
		return fmt.Errorf("%s is %d and should be %d: %w", name, now, value, err)
	}
	return nil
}

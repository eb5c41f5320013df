// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os/exec"
)

// UseIPTables makes the node one whose kubelet uses a variant of iptables, legacy or
// nft, as its hint says.
func (n *Network) UseIPTables(variant string) error {
	return n.node.do(func() error {
		program := "iptables-" + variant
		if out, err := exec.Command(program, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT").CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", program, err, out)
		}
		return nil
	})
}

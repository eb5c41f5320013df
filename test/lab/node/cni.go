// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	pluginDir = "/opt/cni/bin"
	cniDir    = "/etc/cni/net.d"
)

// cniFiles connect the Pods to a bridge, with addresses of both families.
func cniFiles(config Config) map[string]string {
	if !config.Bridge {
		return nil
	}
	type object = map[string]any
	bridge := object{
		"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
		"ipam": object{
			"type": "host-local",
			"ranges": [][]object{
				{{"subnet": config.PodCIDRv4.String()}}, {{"subnet": config.PodCIDRv6.String()}},
			},
			"routes": []object{{"dst": "0.0.0.0/0"}, {"dst": "::/0"}},
			// Its records of addresses go with the node's Pods.
			"dataDir": "/run/cni/addresses",
		},
	}
	portmap := object{"type": "portmap", "capabilities": object{"portMappings": true}}
	list, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0", "name": "lab", "plugins": []object{bridge, portmap},
	}, "", "  ")
	if err != nil {
		panic(err) // strings and maps
	}
	return map[string]string{filepath.Join(cniDir, "10-lab.conflist"): string(list)}
}

// filterBridged makes packets between two Pods of the node pass its rules: otherwise the answer of
// a Service's Pod would take the bridge, past the translation back.
func filterBridged() error {
	const dir = "/proc/sys/net/bridge"
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if out, err := exec.Command("modprobe", "br_netfilter").CombinedOutput(); err != nil {
			return fmt.Errorf("kernel module br_netfilter: %w: %s", err, out)
		}
	}
	for _, file := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("1"), 0); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	return nil
}

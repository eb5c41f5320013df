// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// PodNetNS is the file of the network namespace of a Pod, seen from the machine: that of any of
// the Pod's processes, which kubelet has put into a cgroup with the Pod's UID.
func PodNetNS(group, uid string) (string, error) {
	for _, hierarchy := range hierarchies() {
		for _, dir := range tree(filepath.Join(hierarchy, group)) {
			if !strings.Contains(dir, "/pod"+uid+"/") {
				continue
			}
			if pids, err := processes(dir); err == nil && len(pids) > 0 {
				return fmt.Sprintf("/proc/%d/ns/net", pids[0]), nil
			}
		}
	}
	return "", errors.New("no process of the Pod runs")
}

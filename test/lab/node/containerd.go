// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	containerdConfig = "/etc/containerd/config.toml"
	containerdSocket = "/run/containerd/containerd.sock"
	registriesDir    = "/etc/containerd/certs.d"
)

func containerdArgs() []string { return []string{"--config", containerdConfig} }

func containerdFiles(config Config) map[string]string {
	return map[string]string{
		containerdConfig: fmt.Sprintf(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
max_concurrent_downloads = 10

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = %q

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "pause"

[plugins.'io.containerd.cri.v1.runtime']
disable_apparmor = true
# A process without CAP_SYS_RESOURCE cannot lower its value.
restrict_oom_score_adj = %t

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%q]
conf_dir = %q

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = %q
SystemdCgroup = false
`, registriesDir, !may(unix.CAP_SYS_RESOURCE), pluginDir, cniDir, filepath.Join(config.ProgramsDir, "runc")),
		// All that is pulled comes from the lab's registry, whatever registry a name has.
		filepath.Join(registriesDir, "_default", "hosts.toml"): fmt.Sprintf(`server = %q

[host.%q]
capabilities = ["pull", "resolve"]
`, config.Registry, config.Registry),
	}
}

// may reports whether this process has a capability.
func may(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

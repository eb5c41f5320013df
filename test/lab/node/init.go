// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// initialize is the node's init: it prepares the node, and runs its programs until it ends, with
// all that runs in its PID namespace.
func initialize(config Config) error {
	// The supervisor holds the other end. Where it is killed, this is what ends the node: the
	// thread that exec was called from gets no signal when its parent dies.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// The logs are files of the machine, which the mounts may hide.
	containerdLog, err := openLog(config.ContainerdLog)
	if err != nil {
		return err
	}
	kubeletLog, err := openLog(config.KubeletLog)
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(config.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := mountAll(config); err != nil {
		return err
	}
	if err := filterBridged(); err != nil {
		return err
	}
	for path, content := range files(config) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	if err := os.Setenv("PATH", config.ProgramsDir+":"+os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	return supervise(
		&program{path: filepath.Join(config.ProgramsDir, "containerd"), args: containerdArgs(), log: containerdLog},
		&program{path: filepath.Join(config.ProgramsDir, "kubelet"), args: kubeletArgs(config), log: kubeletLog, needs: containerdSocket},
	)
}

func openLog(path string) (*os.File, error) {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return log, nil
}

// files are what the node's programs read.
func files(config Config) map[string]string {
	out := map[string]string{
		// No forwarder: there is no DNS server outside of the cluster.
		resolvConf: "nameserver " + config.ClusterDNS + "\n",
	}
	for _, part := range []map[string]string{cniFiles(config), containerdFiles(config), kubeletFiles(config)} {
		for path, content := range part {
			out[path] = content
		}
	}
	return out
}

// tick is the pause between two looks at something that changes soon.
func tick() <-chan time.Time { return time.After(10 * time.Millisecond) }

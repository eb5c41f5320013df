// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// kernelPaths are the kernel's and the same for all nodes of one machine: a
// hostPath below them is the real one.
var kernelPaths = []string{"/proc", "/sys", "/dev", "/boot", "/lib/modules", "/usr/lib/modules"}

// hostPath maps a path of the node into HostDir. It starts as an empty disk, so
// a type that demands an existing path finds only what Pods of this node made.
func (s *Set) hostPath(source *corev1.HostPathVolumeSource) (string, error) {
	wanted := path.Clean("/" + source.Path)
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	below := func(prefix string) bool { return wanted == prefix || strings.HasPrefix(wanted, prefix+"/") }
	if slices.ContainsFunc(kernelPaths, below) {
		_, err := os.Stat(wanted)
		return wanted, err
	}
	file := filepath.Join(s.HostDir, wanted)
	switch kind {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate:
		return file, os.MkdirAll(file, 0o755)
	case corev1.HostPathFileOrCreate:
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		made, err := os.OpenFile(file, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return "", err
		}
		return file, made.Close()
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("hostPath %s: no such %s on this node", wanted, kind)
	}
	if err != nil {
		return "", err
	}
	modes := map[corev1.HostPathType]fs.FileMode{
		corev1.HostPathDirectory: fs.ModeDir, corev1.HostPathFile: 0, corev1.HostPathSocket: fs.ModeSocket,
		corev1.HostPathCharDev: fs.ModeDevice | fs.ModeCharDevice, corev1.HostPathBlockDev: fs.ModeDevice,
	}
	if info.Mode().Type() != modes[kind] {
		return "", fmt.Errorf("hostPath %s: not a %s", wanted, kind)
	}
	return file, nil
}

// SubPath finds a path inside a volume, and refuses one that leads out of it. A
// missing directory is made, as the kubelet does.
func SubPath(volume, sub string) (string, error) {
	if sub == "" {
		return volume, nil
	}
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("subPath %q leads out of the volume", sub)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(sub); errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(sub, 0o755); err != nil {
			return "", fmt.Errorf("subPath %q: %w", sub, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("subPath %q: %w", sub, err)
	}
	return filepath.EvalSymlinks(filepath.Join(volume, sub))
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volume fills the directories that a Pod's volumes stand for. They are
// plain directories of the host below the kubelet's state folder; containers
// mount them.
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podenv"
)

// Objects reads what volumes refer to.
type Objects interface {
	podenv.Objects
	// Token requests a token of the Pod's ServiceAccount, bound to the Pod.
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token string, expires time.Time, err error)
}

// Set is the volumes of one Pod. It is not safe for concurrent use.
type Set struct {
	// Dir is where the volumes are made, one directory each.
	Dir string
	// HostDir stands for the node's file system: hostPath volumes live below it,
	// so that the nodes of one machine do not share them.
	HostDir string
	Objects Objects

	tokens map[string]token
}

type token struct {
	value string
	renew time.Time
}

// Prepare makes the volumes, or brings them up to date, and returns where each
// is, by name.
func (s *Set) Prepare(ctx context.Context, down podenv.Downward) (map[string]string, error) {
	paths := map[string]string{}
	for i := range down.Pod.Spec.Volumes {
		volume := &down.Pod.Spec.Volumes[i]
		path, err := s.prepare(ctx, down, volume)
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", volume.Name, err)
		}
		paths[volume.Name] = path
	}
	return paths, nil
}

func (s *Set) prepare(ctx context.Context, down podenv.Downward, volume *corev1.Volume) (string, error) {
	dir := filepath.Join(s.Dir, volume.Name)
	switch {
	case volume.HostPath != nil:
		return s.hostPath(volume.HostPath)
	case volume.EmptyDir != nil:
		return dir, emptyDir(dir, down.Pod)
	case volume.Image != nil, volume.PersistentVolumeClaim != nil, volume.Ephemeral != nil, volume.CSI != nil:
		return "", errUnsupported
	}
	files, err := s.files(ctx, down, volume)
	if err != nil {
		return "", err
	}
	return dir, writeAtomically(dir, files)
}

var errUnsupported = errors.New("this kind of volume is not supported by the lab")

// emptyDir is writable for everyone, as the kubelet makes it; an fsGroup owns it.
// The medium Memory makes no difference here.
func emptyDir(dir string, pod *corev1.Pod) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mode := os.ModePerm
	if group := fsGroup(pod); group >= 0 {
		if err := os.Chown(dir, 0, group); err != nil {
			return err
		}
		mode |= os.ModeSetgid
	}
	return os.Chmod(dir, mode)
}

func fsGroup(pod *corev1.Pod) int {
	if context := pod.Spec.SecurityContext; context != nil && context.FSGroup != nil {
		return int(*context.FSGroup)
	}
	return -1
}

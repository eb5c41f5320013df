// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package security turns a Pod's security contexts into a container's identity
// and rights.
package security

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
)

// NonRootUser is the user of a container that must not run as root and has no
// user. The lab's images have no user of their own; this is what nonroot base
// images have.
const NonRootUser = 65532

// User is the user of the container. The container's own context takes precedence over
// the Pod's.
func User(pod *corev1.Pod, c *corev1.Container) container.User {
	var user container.User
	var uid, gid *int64
	var nonRoot *bool
	if context := pod.Spec.SecurityContext; context != nil {
		uid, gid, nonRoot = context.RunAsUser, context.RunAsGroup, context.RunAsNonRoot
		for _, group := range context.SupplementalGroups {
			user.Groups = append(user.Groups, uint32(group))
		}
		if context.FSGroup != nil {
			user.Groups = append(user.Groups, uint32(*context.FSGroup))
		}
	}
	if context := c.SecurityContext; context != nil {
		uid = override(uid, context.RunAsUser)
		gid = override(gid, context.RunAsGroup)
		nonRoot = override(nonRoot, context.RunAsNonRoot)
	}
	if uid == nil && nonRoot != nil && *nonRoot {
		user.UID, user.GID = NonRootUser, NonRootUser
	}
	if uid != nil {
		user.UID = uint32(*uid)
	}
	if gid != nil {
		user.GID = uint32(*gid)
	}
	return user
}

func override[T any](base, own *T) *T {
	if own != nil {
		return own
	}
	return base
}

// Apply fills in the parts of spec that the security contexts decide.
func Apply(spec *container.Spec, pod *corev1.Pod, c *corev1.Container) error {
	spec.User = User(pod, c)
	if mustNotBeRoot(pod, c) && spec.User.UID == 0 {
		return errors.New("container must not run as root (runAsNonRoot), but runAsUser is 0")
	}
	context := c.SecurityContext
	if context == nil {
		context = &corev1.SecurityContext{}
	}
	spec.ReadOnlyRoot = isTrue(context.ReadOnlyRootFilesystem)
	spec.NoNewPrivileges = context.AllowPrivilegeEscalation != nil && !*context.AllowPrivilegeEscalation
	if isTrue(context.Privileged) {
		spec.Privileged, spec.Capabilities = true, container.AllCapabilities
		return nil
	}
	var add, drop []string
	if capabilities := context.Capabilities; capabilities != nil {
		for _, name := range capabilities.Add {
			add = append(add, string(name))
		}
		for _, name := range capabilities.Drop {
			drop = append(drop, string(name))
		}
	}
	var err error
	if spec.Capabilities, err = container.Capabilities(add, drop); err != nil {
		return fmt.Errorf("security context: %w", err)
	}
	return nil
}

func mustNotBeRoot(pod *corev1.Pod, c *corev1.Container) bool {
	var nonRoot *bool
	if pod.Spec.SecurityContext != nil {
		nonRoot = pod.Spec.SecurityContext.RunAsNonRoot
	}
	if c.SecurityContext != nil {
		nonRoot = override(nonRoot, c.SecurityContext.RunAsNonRoot)
	}
	return isTrue(nonRoot)
}

func isTrue(value *bool) bool { return value != nil && *value }

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
)

func TestApply(t *testing.T) {
	defaults, err := container.Capabilities(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	netAdmin, err := container.Capabilities([]string{"NET_ADMIN"}, []string{"ALL"})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		pod       *corev1.PodSecurityContext
		own       *corev1.SecurityContext
		want      container.Spec
		wantError string
	}{
		"nothing said": {want: container.Spec{Capabilities: defaults}},
		"of the Pod": {
			pod: &corev1.PodSecurityContext{
				RunAsUser: ptr.To(int64(7)), RunAsGroup: ptr.To(int64(8)), SupplementalGroups: []int64{9}, FSGroup: ptr.To(int64(10)),
			},
			want: container.Spec{Capabilities: defaults, User: container.User{UID: 7, GID: 8, Groups: []uint32{9, 10}}},
		},
		"the container's own first": {
			pod: &corev1.PodSecurityContext{RunAsUser: ptr.To(int64(7)), RunAsGroup: ptr.To(int64(8))},
			own: &corev1.SecurityContext{
				RunAsUser: ptr.To(int64(70)), ReadOnlyRootFilesystem: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
			},
			want: container.Spec{Capabilities: netAdmin, User: container.User{UID: 70, GID: 8}, ReadOnlyRoot: true, NoNewPrivileges: true},
		},
		"not root, no user named": {
			pod:  &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)},
			want: container.Spec{Capabilities: defaults, User: container.User{UID: NonRootUser, GID: NonRootUser}},
		},
		"not root, and root": {
			pod: &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}, own: &corev1.SecurityContext{RunAsUser: ptr.To(int64(0))},
			wantError: "container must not run as root (runAsNonRoot), but runAsUser is 0",
		},
		"privileged": {
			own:  &corev1.SecurityContext{Privileged: ptr.To(true)},
			want: container.Spec{Capabilities: container.AllCapabilities, Privileged: true},
		},
		"unknown capability": {
			own:       &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"FLY"}}},
			wantError: `security context: unknown capability "FLY"`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: tc.pod}}
			var got container.Spec
			message := ""
			if err := Apply(&got, pod, &corev1.Container{SecurityContext: tc.own}); err != nil {
				message, got = err.Error(), container.Spec{}
			}
			if message != tc.wantError {
				t.Errorf("error %q, want %q", message, tc.wantError)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

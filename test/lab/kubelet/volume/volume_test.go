// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/podenv"
)

// store is an apiserver with one ConfigMap and one Secret.
type store struct {
	data   map[string]string
	tokens int
	life   time.Duration
}

func (s *store) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if name != "settings" {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
	}
	return &corev1.ConfigMap{Data: s.data, BinaryData: map[string][]byte{"bin": {0, 1}}}, nil
}

func (s *store) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if name != "keys" {
		return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
	}
	return &corev1.Secret{Data: map[string][]byte{"pw": []byte("hush")}}, nil
}

func (s *store) Token(_ context.Context, _ *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	s.tokens++
	return audience + " " + strconv.FormatInt(seconds, 10) + " #" + strconv.Itoa(s.tokens), time.Now().Add(s.life), nil
}

func newSet(t *testing.T) (*Set, *store) {
	t.Helper()
	s := &store{data: map[string]string{"a": "1", "b": "2"}, life: time.Hour}
	return &Set{Dir: filepath.Join(t.TempDir(), "volumes"), HostDir: t.TempDir(), Objects: s}, s
}

// podWith is a Pod with a volume, for the user who runs the test: only root may
// hand files to others.
func podWith(source corev1.VolumeSource) podenv.Downward {
	return podenv.Downward{Pod: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			Volumes:         []corev1.Volume{{Name: "v", VolumeSource: source}},
			Containers:      []corev1.Container{{Name: "main"}},
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: ptr.To(int64(os.Getuid()))},
		},
	}}
}

// contents reads the files that a user of the volume sees.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(filepath.Join(dir, dataLink)), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path)) // by the visible name
		info, statErr := os.Stat(filepath.Join(dir, path))
		if err := errors.Join(err, statErr); err != nil {
			return err
		}
		files[path] = info.Mode().String() + " " + string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFiles(t *testing.T) {
	settings := corev1.LocalObjectReference{Name: "settings"}
	labels := []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}
	cases := map[string]struct {
		source    corev1.VolumeSource
		want      map[string]string
		wantError string
	}{
		"configMap": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: settings}},
			want:   map[string]string{"a": "-rw-r--r-- 1", "b": "-rw-r--r-- 2", "bin": "-rw-r--r-- \x00\x01"},
		},
		"items and modes": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: settings, DefaultMode: ptr.To(int32(0o600)),
				Items: []corev1.KeyToPath{{Key: "a", Path: "deep/er/a"}, {Key: "b", Path: "b", Mode: ptr.To(int32(0o755))}},
			}},
			want: map[string]string{"deep/er/a": "-rw------- 1", "b": "-rwxr-xr-x 2"},
		},
		"missing key": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: settings, Items: []corev1.KeyToPath{{Key: "z", Path: "z"}},
			}},
			wantError: `volume "v": ConfigMap settings: key "z" not found`,
		},
		"missing secret": {
			source:    corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none"}},
			wantError: `volume "v": secrets "none" not found`,
		},
		"optional secret": {
			source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none", Optional: ptr.To(true)}},
			want:   map[string]string{},
		},
		"projected": {
			source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: labels}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "vault", ExpirationSeconds: ptr.To(int64(700))}},
			}}},
			want: map[string]string{"pw": "-rw-r--r-- hush", "labels": `-rw-r--r-- app="web"`, "token": "-rw------- vault 700 #1"},
		},
		"leading out": {
			source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: settings, Items: []corev1.KeyToPath{{Key: "a", Path: "../a"}},
			}},
			wantError: `volume "v": file name "../a" leads out of the volume`,
		},
		"unsupported": {
			source:    corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}},
			wantError: `volume "v": this kind of volume is not supported by the lab`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			set, _ := newSet(t)
			paths, err := set.Prepare(t.Context(), podWith(tc.source))
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != tc.wantError {
				t.Fatalf("error %q, want %q", message, tc.wantError)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tc.want, contents(t, paths["v"])); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// A changed ConfigMap appears in one step, and an unchanged one is left alone.
func TestUpdate(t *testing.T) {
	set, store := newSet(t)
	down := podWith(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
	}})
	version := func() (string, map[string]string) {
		paths, err := set.Prepare(t.Context(), down)
		if err != nil {
			t.Fatal(err)
		}
		link, err := os.Readlink(filepath.Join(paths["v"], dataLink))
		if err != nil {
			t.Fatal(err)
		}
		return link, contents(t, paths["v"])
	}
	first, _ := version()
	if again, _ := version(); again != first {
		t.Errorf("written again without a change: %s, %s", first, again)
	}
	store.data = map[string]string{"b": "3", "c": "4"}
	second, files := version()
	want := map[string]string{"b": "-rw-r--r-- 3", "c": "-rw-r--r-- 4", "bin": "-rw-r--r-- \x00\x01"}
	if diff := cmp.Diff(want, files); diff != "" || second == first {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Join(set.Dir, "v"))
	if err != nil || len(entries) != 5 { // b, bin, c, ..data and one version
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestTokenRefresh(t *testing.T) {
	cases := map[string]struct {
		life time.Duration
		want int
	}{"fresh": {time.Hour, 1}, "old": {-time.Second, 2}}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			set, store := newSet(t)
			store.life = tc.life
			down := podWith(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			}}})
			for range 2 {
				if _, err := set.Prepare(t.Context(), down); err != nil {
					t.Fatal(err)
				}
			}
			if store.tokens != tc.want {
				t.Errorf("asked for %d tokens, want %d", store.tokens, tc.want)
			}
		})
	}
}

func TestHostPath(t *testing.T) {
	cases := map[string]struct {
		path      string
		kind      corev1.HostPathType
		want      string // relative to HostDir, or absolute
		wantError string
	}{
		"any":              {path: "/var/lib/x", want: "var/lib/x"},
		"made":             {path: "/var/lib/y", kind: corev1.HostPathDirectoryOrCreate, want: "var/lib/y"},
		"file made":        {path: "/run/xtables.lock", kind: corev1.HostPathFileOrCreate, want: "run/xtables.lock"},
		"the kernel's own": {path: "/proc/sys", want: "/proc/sys"},
		"climbing":         {path: "/../../etc", want: "etc"},
		"missing":          {path: "/var/lib/none", kind: corev1.HostPathDirectory, wantError: "hostPath /var/lib/none: no such Directory on this node"},
		"wrong type":       {path: "/there", kind: corev1.HostPathSocket, wantError: "hostPath /there: not a Socket"},
		"right type":       {path: "/there", kind: corev1.HostPathDirectory, want: "there"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			set, _ := newSet(t)
			if err := os.Mkdir(filepath.Join(set.HostDir, "there"), 0o755); err != nil {
				t.Fatal(err)
			}
			got, err := set.hostPath(&corev1.HostPathVolumeSource{Path: tc.path, Type: &tc.kind})
			message := ""
			if err != nil {
				message = err.Error()
			}
			want := tc.want
			if want != "" && !filepath.IsAbs(want) {
				want = filepath.Join(set.HostDir, want)
			}
			if message != tc.wantError || err == nil && got != want {
				t.Errorf("got %q, %q; want %q, %q", got, message, want, tc.wantError)
			}
			if _, statErr := os.Stat(got); err == nil && statErr != nil {
				t.Error(statErr)
			}
		})
	}
}

func TestSubPath(t *testing.T) {
	outside, volume := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(volume, "trap")); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		sub, want string
		wantError bool
	}{
		"none":      {"", "", false},
		"made":      {"a/b", "a/b", false},
		"climbing":  {"../x", "", true},
		"by a link": {"trap", "", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := SubPath(volume, tc.sub)
			if (err != nil) != tc.wantError {
				t.Fatalf("error %v", err)
			}
			if want := filepath.Join(volume, tc.want); err == nil && got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestEmptyDirGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing the group needs root")
	}
	set, _ := newSet(t)
	down := podWith(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	down.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(4711))}
	paths, err := set.Prepare(t.Context(), down)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(paths["v"])
	if err != nil || info.Mode() != fs.ModeDir|fs.ModeSetgid|0o777 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

const testVersion = "v9.8.7-test"

// testSource is this checkout, as it is, with a fixed commit.
func testSource(dir string) source {
	return source{dir: dir, version: testVersion, revision: strings.Repeat("ab", 20), time: time.Unix(1_800_000_000, 0)}
}

// built has all images of the checkout, made once for all tests.
var built = sync.OnceValues(func() (string, error) {
	return work, buildAll(testSource(checkoutDir()), work)
})

// work is a folder for all tests.
var work string

func TestMain(m *testing.M) {
	var err error
	if work, err = os.MkdirTemp("", "fairlead-images-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(work)
	os.Exit(code)
}

func checkoutDir() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

func buildAll(s source, out string) error {
	var list []string
	for _, k := range kinds {
		list = append(list, k.name+"=registry.example/fairlead-"+k.name+":"+s.version)
	}
	return build(context.Background(), s, nil, out, list)
}

// read returns an image that was made of this checkout.
func read(t *testing.T, name string) *layout {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return readLayout(t, filepath.Join(dir, name))
}

// Another folder, another clock, umask, locale and environment: the same bytes.
func TestReproducible(t *testing.T) {
	first, err := built()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, out := filepath.Join(t.TempDir(), "another", "checkout"), t.TempDir()
	copyCheckout(t, elsewhere)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("GOFLAGS", "-tags=another")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("CGO_ENABLED", "1")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	if err := buildAll(testSource(elsewhere), out); err != nil {
		t.Fatal(err)
	}
	same(t, first, out)
}

// copyCheckout copies the files that git knows or would add.
func copyCheckout(t *testing.T, to string) {
	t.Helper()
	list, err := exec.Command("git", "-C", checkoutDir(), "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(checkoutDir(), name))
		if os.IsNotExist(err) { // deleted, and not committed
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryImage(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			l := read(t, k.name)
			if diff := cmp.Diff(platforms, slices.Sorted(maps.Keys(l.images))); diff != "" {
				t.Errorf("platforms (-want +got):\n%s", diff)
			}
			if got, want := l.named.Annotations[ociv1.AnnotationRefName], "registry.example/fairlead-"+k.name+":"+testVersion; got != want {
				t.Errorf("the layout names %s and not %s", got, want)
			}
			want := map[string]string{
				ociv1.AnnotationTitle: "fairlead-" + k.name, ociv1.AnnotationDescription: k.description,
				ociv1.AnnotationVersion: testVersion, ociv1.AnnotationRevision: strings.Repeat("ab", 20),
				ociv1.AnnotationCreated: "2027-01-15T08:00:00Z", ociv1.AnnotationAuthors: "The Fairlead Authors",
				ociv1.AnnotationSource: project, ociv1.AnnotationDocumentation: project, ociv1.AnnotationLicenses: k.licenses,
			}
			if diff := cmp.Diff(want, l.index.Annotations); diff != "" {
				t.Errorf("annotations of the index (-want +got):\n%s", diff)
			}
			for arch, i := range l.images {
				if diff := cmp.Diff(want, i.manifest.Annotations); diff != "" {
					t.Errorf("annotations of %s (-want +got):\n%s", arch, diff)
				}
				for key, value := range want {
					if got := i.config.Config.Labels[key]; got != value {
						t.Errorf("the label %s of %s is %q and not %q", key, arch, got, value)
					}
				}
			}
		})
	}
}

func TestController(t *testing.T) {
	manifest := string(readFile(t, filepath.Join(checkoutDir(), "config/manager/manager.yaml")))
	if !strings.Contains(manifest, "runAsUser: 65532\n") {
		t.Error("the Deployment does not run as the image's user")
	}
	for arch, i := range read(t, "controller").images {
		t.Run(arch, func(t *testing.T) {
			if i.config.Config.User != "65532:65532" {
				t.Errorf("runs as %q", i.config.Config.User)
			}
			if diff := cmp.Diff([]string{"/fairlead-controller"}, i.config.Config.Entrypoint); diff != "" {
				t.Errorf("entrypoint (-want +got):\n%s", diff)
			}
			checkProgram(t, i, arch, "fairlead-controller")
			for name := range i.files {
				if name != "fairlead-controller" && !strings.HasPrefix(name, "licenses/") {
					t.Errorf("it has %s", name)
				}
			}
		})
	}
}

// checkProgram checks a static program of an image, the licences of its modules, and that
// it starts if it is for this machine.
func checkProgram(t *testing.T, i image, arch, name string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(i.files[name].Data))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		t.Errorf("the program is for %s and not %s", f.Machine, want)
	}
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 || f.Section(".interp") != nil {
		t.Errorf("%s is not static: %v, %v", name, libraries, err)
	}
	for _, licence := range []string{
		"go/LICENSE", "github.com/fairlead-proxy/fairlead/LICENSE", "k8s.io/client-go/LICENSE",
		"k8s.io/apimachinery/third_party/forked/golang/LICENSE", // of a folder, not of the module
	} {
		if len(i.files["licenses/"+licence].Data) == 0 {
			t.Errorf("the licence %s is missing", licence)
		}
	}
	if arch != "amd64" || os.Getuid() != 0 {
		return
	}
	if out, err := inImage(i, unpack(t, i), "/"+name, "--version"); err != nil || !strings.Contains(out, testVersion) {
		t.Errorf("%s --version prints %q, %v", name, out, err)
	}
}

// unpack writes an image's files into a temporary folder.
func unpack(t *testing.T, i image) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := i.files.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inImage runs a program in a container of an image's files, as the image's user.
func inImage(i image, dir, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Cloneflags: syscall.CLONE_NEWNET}
	if i.config.Config.User == "65532:65532" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
	}
	cmd.Dir, cmd.Env = "/", i.config.Config.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestBundle(t *testing.T) {
	want := rootfs.Tree{}
	for _, folder := range []string{"manifests", "metadata"} {
		tree, err := rootfs.Read(filepath.Join(checkoutDir(), "bundle", folder))
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range tree {
			want[path.Join(folder, name)] = f
		}
	}
	if len(want) < 5 {
		t.Fatalf("the bundle has only %d files", len(want))
	}
	for arch, i := range read(t, "bundle").images {
		if diff := cmp.Diff(want, i.files); diff != "" {
			t.Errorf("files of %s (-want +got):\n%s", arch, diff)
		}
		if got := i.config.Config.Labels["operators.operatorframework.io.bundle.package.v1"]; got != "fairlead" {
			t.Errorf("the label of the package of %s is %q", arch, got)
		}
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/hack/images/golang"
)

// labPrograms has the programs of the checkout that are in images of the lab.
var labPrograms = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(work, "lab-programs")
	for folder, packages := range map[string][]string{"": {"./cmd/..."}, "test": {"./lab/cmd/echo", "./lab/cmd/pause"}} {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-o", dir + "/"}, packages...)...)
		cmd.Dir, cmd.Env, cmd.Stderr = filepath.Join(checkoutDir(), folder), append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := cmd.Run(); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// labBuilt has all images of the lab, made once for all tests.
var labBuilt = sync.OnceValues(func() (string, error) {
	out := filepath.Join(work, "lab")
	return out, writeLab(out)
})

func writeLab(out string) error {
	programs, err := labPrograms()
	if err != nil {
		return err
	}
	var names []string
	for _, i := range labImages {
		names = append(names, i.name)
	}
	return lab(context.Background(), labBuild{source: source{dir: checkoutDir()}, arch: runtime.GOARCH, built: programs}, out, names)
}

// labImageOf reads an image of the lab as a client does.
func labImageOf(t *testing.T, name string) image {
	t.Helper()
	dir, err := labBuilt()
	if err != nil {
		t.Fatal(err)
	}
	i, ok := readLayout(t, filepath.Join(dir, name)).images[runtime.GOARCH]
	if !ok {
		t.Fatalf("%s has no image of %s", name, runtime.GOARCH)
	}
	return i
}

// Layouts are read and checked as a client does. What an image starts is in it, with all that it
// loads.
func TestLabImages(t *testing.T) {
	for _, l := range labImages {
		t.Run(l.name, func(t *testing.T) {
			i := labImageOf(t, l.name)
			start := slices.Concat(i.config.Config.Entrypoint, i.config.Config.Cmd)[0]
			if !filepath.IsAbs(start) {
				start = "/usr/bin/" + start
			}
			if !leads(i.files, start[1:]) {
				t.Errorf("it starts %s, which is missing", start)
			}
			checkLibraries(t, l.name, i.files)
			for name, f := range i.files {
				if f.Link != "" && !leads(i.files, name) {
					t.Errorf("%s leads to %s, which is missing", name, f.Link)
				}
				line, _, _ := bytes.Cut(f.Data, []byte("\n"))
				if program, script := bytes.CutPrefix(line, []byte("#!")); script && f.Mode&0o111 != 0 {
					if program := strings.Fields(string(program))[0]; !leads(i.files, program[1:]) {
						t.Errorf("the script %s needs %s", name, program)
					}
				}
			}
		})
	}
}

// Images with tools have the same layer of them, so a node unpacks it once.
func TestLabLayers(t *testing.T) {
	want := labImageOf(t, "tools").manifest.Layers[0].Digest
	for _, name := range []string{"curl", "nginx", "agnhost", "kube-proxy"} {
		if got := labImageOf(t, name).manifest.Layers[0].Digest; got != want {
			t.Errorf("the first layer of %s is %s and not %s", name, got, want)
		}
	}
}

func TestLabReproducible(t *testing.T) {
	first, err := labBuilt()
	if err != nil {
		t.Fatal(err)
	}
	second := t.TempDir()
	t.Setenv("TZ", "Pacific/Auckland")
	if err := writeLab(second); err != nil {
		t.Fatal(err)
	}
	for _, i := range labImages {
		same(t, filepath.Join(first, i.name), filepath.Join(second, i.name))
	}
}

// The files of controller and agent are those of the released images, without the licences of
// modules.
func TestLabAndReleasedFiles(t *testing.T) {
	for lab, released := range map[string]string{"fairlead-controller": "controller", "fairlead-agent": "agent"} {
		want, got := read(t, released).images[runtime.GOARCH], labImageOf(t, lab)
		for name := range want.files {
			if strings.HasPrefix(name, "licenses/") {
				delete(want.files, name)
			}
		}
		for _, files := range []image{want, got} { // they have another version
			program := files.files[lab]
			program.Data = nil
			files.files[lab] = program
		}
		if diff := cmp.Diff(want.files, got.files); diff != "" {
			t.Errorf("files of %s (-released +lab):\n%s", lab, diff)
		}
		want.config.Config.Labels, got.config.Config.Labels = nil, nil
		if diff := cmp.Diff(want.config.Config, got.config.Config); diff != "" {
			t.Errorf("configuration of %s (-released +lab):\n%s", lab, diff)
		}
	}
}

var (
	usedImage  = regexp.MustCompile(`imageutils\.(\w+)`)
	namedImage = regexp.MustCompile(`configs\[(\w+)\] = Config\{[\w.]+, "([^"]+)"`)
)

// Each image that Kubernetes' tests of sig-network use is there.
func TestLabHasImagesOfKubernetes(t *testing.T) {
	dir, err := labBuilt()
	if err != nil {
		t.Fatal(err)
	}
	module, err := golang.ModuleDir(t.Context(), filepath.Join(checkoutDir(), "test/controlplane/kubernetes"), "k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, m := range namedImage.FindAllStringSubmatch(string(readFile(t, filepath.Join(module, "test/utils/image/manifest.go"))), -1) {
		names[m[1]] = m[2]
	}
	files, err := filepath.Glob(filepath.Join(module, "test/e2e/network/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"Pause": true}
	for _, file := range files {
		for _, m := range usedImage.FindAllStringSubmatch(string(readFile(t, file)), -1) {
			used[m[1]] = names[m[1]] != ""
		}
	}
	n := 0
	for id, is := range used {
		if !is {
			continue
		}
		n++
		if _, err := os.Stat(filepath.Join(dir, names[id], "index.json")); err != nil {
			t.Errorf("the tests use %s: %v", names[id], err)
		}
	}
	if n < 7 {
		t.Errorf("the tests use only %d images", n)
	}
}

func TestLabUnknown(t *testing.T) {
	b := labBuild{source: source{dir: checkoutDir()}, arch: runtime.GOARCH, built: t.TempDir()}
	for name, want := range map[string]string{"toaster": `no image "toaster"`, "echo": "no such file"} {
		out := t.TempDir()
		if err := lab(t.Context(), b, out, []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(out); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

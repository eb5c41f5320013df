// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// programs are what the mode IPTables starts, and what people look at a node with.
func programs() []string {
	var out []string
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{"-nft", "-legacy"} {
			for _, suffix := range []string{"", "-save", "-restore"} {
				out = append(out, family+variant+suffix)
			}
		}
	}
	return out
}

func TestAgent(t *testing.T) {
	for arch, i := range read(t, "agent").images {
		t.Run(arch, func(t *testing.T) {
			if diff := cmp.Diff([]string{"/fairlead-agent"}, i.config.Config.Entrypoint); diff != "" || i.config.Config.User != "0:0" {
				t.Errorf("runs as %q; entrypoint (-want +got):\n%s", i.config.Config.User, diff)
			}
			checkProgram(t, i, arch, "fairlead-agent")
			// No shell, no package manager, nothing but these.
			want := []string{"fairlead-agent", "usr/sbin/xtables-legacy-multi", "usr/sbin/xtables-nft-multi"}
			if diff := cmp.Diff(want, executables(t, i)); diff != "" {
				t.Errorf("programs (-want +got):\n%s", diff)
			}
			var size int64
			for _, layer := range i.manifest.Layers {
				size += layer.Size
			}
			if size > 40<<20 {
				t.Errorf("the layers have %d bytes", size)
			}
			for name, f := range i.files {
				if f.Link != "" && !leads(i.files, name) {
					t.Errorf("%s leads to %s, which is missing", name, f.Link)
				}
			}
		})
	}
}

func target(name, link string) string {
	if path.IsAbs(link) {
		return path.Clean(link)[1:]
	}
	return path.Join(path.Dir(name), link)
}

// executables returns the files that a container could start: programs, and scripts.
// Libraries may be executable, but have no name of a program to load them, except libc.
func executables(t *testing.T, i image) []string {
	t.Helper()
	var out []string
	for name, f := range i.files {
		if f.Link != "" || f.Mode&0o111 == 0 || strings.Contains(path.Base(name), ".so") {
			continue
		}
		out = append(out, name)
		if _, err := elf.NewFile(bytes.NewReader(f.Data)); err != nil {
			t.Errorf("%s is no program: %v", name, err)
		}
	}
	return slices.Sorted(slices.Values(out))
}

// Each program starts, with nothing but the image's files.
func TestProgramsOfTheAgent(t *testing.T) {
	needsRoot(t)
	i := read(t, "agent").images["amd64"]
	root := unpack(t, i)
	for _, name := range programs() {
		out, err := inImage(i, root, "/usr/sbin/"+name, "--version")
		want := map[bool]string{true: "(nf_tables)", false: "(legacy)"}[strings.Contains(name, "-nft")]
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s --version prints %q, %v", name, out, err)
		}
	}
}

// Everything that a program or an extension loads is there, for each platform, and so is
// every extension: a list of rules fails at one that is missing.
func TestLibrariesOfTheAgent(t *testing.T) {
	extension := regexp.MustCompile(`/xtables/lib(xt|ipt|ip6t)_`)
	for arch, i := range read(t, "agent").images {
		checkLibraries(t, arch, i.files)
		packages, _, err := locked(t.Context(), testSource(checkoutDir()), lockFile, arch)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			for name := range p.Files {
				if _, ok := i.files[name]; extension.MatchString(name) && !ok {
					t.Errorf("%s: %s is missing", arch, name)
				}
			}
		}
	}
}

// checkLibraries checks that all that programs, libraries and extensions load is among the files.
func checkLibraries(t *testing.T, name string, files rootfs.Tree) {
	t.Helper()
	libraries := map[string]bool{}
	for file := range files {
		if strings.Contains(file, "lib/") && !strings.Contains(file, "/xtables/") {
			libraries[path.Base(file)] = true
		}
	}
	for file, f := range files {
		program, err := elf.NewFile(bytes.NewReader(f.Data))
		if err != nil {
			continue
		}
		needs, err := program.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		for _, library := range needs {
			if !libraries[library] {
				t.Errorf("%s: %s needs %s", name, file, library)
			}
		}
		if section := program.Section(".interp"); section != nil {
			text, err := section.Data()
			if loader := strings.Trim(string(text), "/\x00"); err != nil || !leads(files, loader) {
				t.Errorf("%s: %s needs %s, %v", name, file, loader, err)
			}
		}
	}
}

// leads says whether a path leads to a file or a directory of an image, through links.
func leads(files rootfs.Tree, name string) bool {
	for range 40 {
		if _, ok := files[name]; ok && files[name].Link == "" {
			return true
		}
		next := ""
		for dir := name; dir != "." && next == ""; dir = path.Dir(dir) {
			if link := files[dir].Link; link != "" {
				next = path.Join(target(dir, link), strings.TrimPrefix(name, dir))
			}
		}
		if next == "" {
			for file := range files { // a directory
				if strings.HasPrefix(file, name+"/") {
					return true
				}
			}
			return false
		}
		name = next
	}
	return false
}

// The mode's own tests on the real kernel, with the programs of the image. They read back
// what the mode has written, in both variants and families.
func TestModeWithTheImage(t *testing.T) {
	needsRoot(t)
	i := read(t, "agent").images["amd64"]
	root, bin := unpack(t, i), t.TempDir()
	for _, dir := range []string{"proc", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range programs() {
		text := fmt.Sprintf("#!/bin/sh\nunset XTABLES_LOCKFILE\necho >>%s/started\nexec chroot %s /usr/sbin/%s \"$@\"\n", bin, root, name)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	test := filepath.Join(t.TempDir(), "iptables.test")
	build := exec.Command("go", "test", "-c", "-o", test, "./agent/dataplane/iptables")
	build.Dir = checkoutDir()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The mounts end with the namespace.
	run := exec.Command("unshare", "--mount", "sh", "-ec", `mount --rbind /proc "$1/proc"; shift; exec "$@"`, "sh", root,
		test, "-test.v", "-test.run", "^(TestReadBack|TestDeltasAndSyncAgree|TestDrift|TestProbeAndCleanup)$")
	run.Dir = filepath.Join(checkoutDir(), "agent/dataplane/iptables")
	run.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS"); n < 4 || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("only %d tests: %s", n, out)
	}
	if len(readFile(t, filepath.Join(bin, "started"))) == 0 {
		t.Error("the programs of the image were not started")
	}
}

// The image has what the lock names, and scanners find it.
func TestDebianPackages(t *testing.T) {
	for arch, i := range read(t, "agent").images {
		packages, _, err := locked(t.Context(), testSource(checkoutDir()), lockFile, arch)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, p := range packages {
			want = append(want, "var/lib/dpkg/status.d/"+p.Name)
			if status := string(i.files["var/lib/dpkg/status.d/"+p.Name].Data); !strings.Contains(status, "\nVersion: "+p.Version+"\n") {
				t.Errorf("%s: the image says of %s: %s", arch, p.Name, status)
			}
			if len(i.files["usr/share/doc/"+p.Name+"/copyright"].Data) == 0 {
				t.Errorf("%s: the licence of %s is missing", arch, p.Name)
			}
		}
		for name := range maps.Keys(i.files) {
			if strings.HasPrefix(name, "var/") {
				got = append(got, name)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("packages of %s (-want +got):\n%s", arch, diff)
		}
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

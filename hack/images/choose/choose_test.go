// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package choose

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/hack/images/debian"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

func text(s string) rootfs.File { return rootfs.File{Mode: 0o644, Data: []byte(s)} }

func packages() []*debian.Contents {
	return []*debian.Contents{
		{Package: debian.Package{Name: "a"}, Control: "Package: a\n", Files: rootfs.Tree{
			"bin/a": {Link: "/sbin/b"}, "usr/bin/other": text(""), "usr/share/doc/a": {Link: "base"},
		}},
		{Package: debian.Package{Name: "b"}, Control: "Package: b\n", Files: rootfs.Tree{
			"sbin/b": text("b"), "usr/share/doc/b/copyright": text("see /usr/share/common-licenses/GPL-2."),
		}},
		{Package: debian.Package{Name: "base"}, Control: "Package: base\n", Files: rootfs.Tree{
			"usr/share/common-licenses/GPL-2": text("GPL"), "usr/share/doc/base/copyright": text("free"),
		}},
	}
}

// A link has its target; a package its licence, also one that is in another package.
func TestFiles(t *testing.T) {
	merged, err := Files(MergeUsr(packages()), func(name string) bool { return name == "usr/bin/a" })
	if err != nil {
		t.Fatal(err)
	}
	Links(merged)
	want := []string{
		"bin", "sbin", "usr/bin/a", "usr/sbin/b", "usr/share/common-licenses/GPL-2", "usr/share/doc/a", "usr/share/doc/b/copyright",
		"usr/share/doc/base/copyright", "var/lib/dpkg/status.d/a", "var/lib/dpkg/status.d/b", "var/lib/dpkg/status.d/base",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(merged))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := merged["bin"].Link; got != "usr/bin" {
		t.Errorf("/bin leads to %q", got)
	}
}

func TestFilesFail(t *testing.T) {
	for name, test := range map[string]struct {
		change func([]*debian.Contents)
		want   string
	}{
		"a link without a target": {func(p []*debian.Contents) { delete(p[1].Files, "sbin/b") }, "no package has sbin/b"},
		"no licence":              {func(p []*debian.Contents) { delete(p[1].Files, "usr/share/doc/b/copyright") }, "no package has usr/share/doc/b/copyright"},
		"no text of a licence":    {func(p []*debian.Contents) { delete(p[2].Files, "usr/share/common-licenses/GPL-2") }, "the licence of b"},
		"a package of no use":     {func(p []*debian.Contents) { p[0].Files["bin/a"] = text("") }, "the package b has nothing that is needed"},
	} {
		p := packages()
		test.change(p)
		if files, err := Files(p, func(name string) bool { return name == "bin/a" }); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", name, files, err)
		}
	}
}

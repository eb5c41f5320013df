// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// archive serves files by path, and records what was asked for.
type archive struct {
	*httptest.Server
	files map[string]string
	asked []string
}

func newArchive(t *testing.T, files map[string]string) *archive {
	a := &archive{files: files}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked = append(a.asked, r.URL.Path)
		content, ok := a.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(a.Close)
	return a
}

func TestFetch(t *testing.T) {
	const content, path = "a package", "debian/pool/main/i/iptables/iptables_1.8.9-2+b1_amd64.deb"
	digest := sha256.Sum256([]byte(content))
	p := Package{Name: "iptables", Version: "1.8.9-2+b1", Arch: "amd64", SHA256: hex.EncodeToString(digest[:]), Path: path}
	now := "/" + path
	old := "/archive/debian/20261126T090001Z/" + strings.TrimPrefix(path, "debian/")
	for name, test := range map[string]struct {
		files  map[string]string
		cached string
		asked  []string
		fails  bool
	}{
		"from the mirror":                     {files: map[string]string{now: content, old: content}, asked: []string{now}},
		"dropped by the mirror":               {files: map[string]string{old: content}, asked: []string{now, old}},
		"another file at the mirror":          {files: map[string]string{now: "evil", old: content}, asked: []string{now, old}},
		"in the cache":                        {cached: content},
		"a damaged cache":                     {cached: "a pack", files: map[string]string{now: content}, asked: []string{now}},
		"nowhere":                             {asked: []string{now, old}, fails: true},
		"another file everywhere, also there": {cached: "evil", files: map[string]string{now: "evil", old: "evil"}, asked: []string{now, old}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t, test.files)
			s := Source{Mirror: a.URL, Snapshots: a.URL + "/archive", Cache: t.TempDir(), Snapshot: time.Date(2026, 11, 26, 9, 0, 1, 0, time.UTC)}
			if test.cached != "" {
				if err := os.WriteFile(filepath.Join(s.Cache, filepath.Base(path)), []byte(test.cached), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file, err := s.Fetch(t.Context(), p)
			if test.fails {
				if err == nil || !strings.Contains(err.Error(), "make images-lock") {
					t.Errorf("the error does not name the remedy: %v", err)
				}
			} else if got, read := os.ReadFile(file); err != nil || read != nil || string(got) != content {
				t.Errorf("fetched %q, %v, %v", got, read, err)
			}
			if diff := cmp.Diff(test.asked, slices.Compact(a.asked)); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Cache, ".tmp.*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mediaType = "application/vnd.oci.image.manifest.v1+json"

// writeLayout makes a layout whose image has a manifest with this name in it, and returns the digest.
func writeLayout(t *testing.T, dir, name string) string {
	t.Helper()
	manifest := manifestOf(name)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(manifest)))
	for path, content := range map[string]string{
		"index.json":          fmt.Sprintf(`{"manifests": [{"mediaType": %q, "digest": "sha256:%s"}]}`, mediaType, sum),
		"blobs/sha256/" + sum: manifest,
	} {
		path = filepath.Join(dir, name, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return "sha256:" + sum
}

func manifestOf(name string) string {
	return fmt.Sprintf(`{"mediaType": %q, "name": %q}`, mediaType, name)
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	agent, echo := writeLayout(t, dir, "agent"), writeLayout(t, dir, "echo")
	type answer struct {
		Status             int
		Type, Digest, Body string
	}
	found := func(digest, body string) answer { return answer{http.StatusOK, mediaType, digest, body} }
	for path, want := range map[string]answer{
		"/v2/agent/manifests/latest?ns=docker.io": found(agent, manifestOf("agent")),
		"/v2/some/path/agent/manifests/v1.2":      found(agent, manifestOf("agent")),
		"/v2/agent/manifests/" + agent:            found(agent, manifestOf("agent")),
		"/v2/library/unknown/manifests/1":         found(echo, manifestOf("echo")),
		"/v2/agent/blobs/" + agent:                {http.StatusOK, "application/octet-stream", agent, manifestOf("agent")},
		"/v2/":                                    {Status: http.StatusOK},
		"/v2/agent/manifests/" + echo:             {Status: http.StatusNotFound, Type: "text/plain; charset=utf-8"},
		"/v2/agent/blobs/sha256:..":               {Status: http.StatusNotFound, Type: "text/plain; charset=utf-8"},
		"/v2/agent/tags/list":                     {Status: http.StatusNotFound, Type: "text/plain; charset=utf-8"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := httptest.NewRecorder()
			Handler{Dir: dir}.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			got := answer{w.Code, w.Header().Get("Content-Type"), w.Header().Get("Docker-Content-Digest"), w.Body.String()}
			want := want
			if method == http.MethodHead || w.Code != http.StatusOK {
				got.Body, want.Body = "", ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", method, path, diff)
			}
		}
	}
}

// A layout that is replaced is served anew.
func TestNewImage(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"first", "second"} {
		writeLayout(t, dir, name)
		link := filepath.Join(dir, "app")
		_ = os.Remove(link) // there is none at first
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		Handler{Dir: dir}.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/app/manifests/latest", nil))
		if got := w.Body.String(); got != manifestOf(name) {
			t.Errorf("got %s, want that of %s", got, name)
		}
	}
}

func TestReadOnly(t *testing.T) {
	w := httptest.NewRecorder()
	Handler{Dir: t.TempDir()}.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v2/app/manifests/latest", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("status %d, want %d", w.Code, http.StatusMethodNotAllowed)
	}
}

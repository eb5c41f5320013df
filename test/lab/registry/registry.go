// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package registry serves the lab's images by the OCI distribution API: one for every name there
// may be.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Handler serves the OCI layouts that are the folders of Dir. It looks at them again for each
// request: a new image needs no restart.
type Handler struct{ Dir string }

// echoImage stands for every name that is not known.
const echoImage = "echo"

// layout is the folder of the image of a repository, of which only the last element counts.
func (h Handler) layout(repository string) string {
	dir := filepath.Join(h.Dir, path.Base(repository))
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err != nil {
		dir = filepath.Join(h.Dir, echoImage)
	}
	return dir
}

// request is the path of a request for part of an image.
var request = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

var sha256Digest = regexp.MustCompile(`^sha256:([0-9a-f]{64})$`)

func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "the registry is read-only", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/v2/" {
		return
	}
	parts := request.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		http.NotFound(w, r)
		return
	}
	dir, reference := h.layout(parts[1]), parts[3]
	if parts[2] == "manifests" && !strings.Contains(reference, ":") {
		digest, err := latest(dir)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		reference = digest
	}
	if err := serveBlob(w, r, dir, reference, parts[2] == "manifests"); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
	}
}

// latest is the digest of what a layout holds.
func latest(dir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return "", err
	}
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(content, &index); err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	if len(index.Manifests) == 0 {
		return "", fmt.Errorf("%s has no image", dir)
	}
	return index.Manifests[0].Digest, nil
}

func serveBlob(w http.ResponseWriter, r *http.Request, dir, digest string, manifest bool) error {
	sum := sha256Digest.FindStringSubmatch(digest)
	if sum == nil {
		return errors.New("not a digest: " + digest)
	}
	name := filepath.Join(dir, "blobs", "sha256", sum[1])
	mediaType := "application/octet-stream"
	if manifest {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var document struct{ MediaType string }
		if err := json.Unmarshal(content, &document); err != nil {
			return err
		}
		mediaType = document.MediaType
	} else if _, err := os.Stat(name); err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeFile(w, r, name)
	return nil
}

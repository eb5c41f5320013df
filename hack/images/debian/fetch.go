// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Mirror is Debian's own. It serves what is in the suite now.
const Mirror = "http://deb.debian.org"

// Snapshots keeps every version of each package.
const Snapshots = "https://snapshot.debian.org/archive"

// Source is where packages come from. What is downloaded is compared with the lock, so
// neither a mirror nor the cache is trusted.
type Source struct {
	Mirror    string // such as Mirror
	Snapshots string // such as Snapshots
	Snapshot  time.Time
	Cache     string // a folder
}

// urls returns where a package may be. The archive drops a version when a newer one comes.
func (s Source) urls(p Package) []string {
	archive, file, _ := strings.Cut(p.Path, "/")
	// A version may have a + or a :, which some mirrors only find escaped.
	escaped := path.Join(path.Dir(file), url.QueryEscape(path.Base(file)))
	return []string{
		s.Mirror + "/" + archive + "/" + escaped,
		s.Snapshots + "/" + archive + "/" + s.Snapshot.UTC().Format(snapshotFormat) + "/" + escaped,
	}
}

// Fetch returns the file of a package, from the cache or else from the first place that has
// it.
func (s Source) Fetch(ctx context.Context, p Package) (file string, err error) {
	file = filepath.Join(s.Cache, path.Base(p.Path))
	if err := check(file, p.SHA256); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(s.Cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.Cache, ".tmp.") // another process may fetch the same
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var errs []error
	for _, from := range s.urls(p) {
		loaded := filepath.Join(dir, "package.deb")
		err := download(ctx, from, loaded)
		if err == nil {
			err = check(loaded, p.SHA256)
		}
		if err == nil {
			return file, os.Rename(loaded, file)
		}
		errs = append(errs, fmt.Errorf("%s: %w", from, err))
	}
	return "", fmt.Errorf("fetch the Debian package %s %s of %s: %w\n"+
		"If the archive has dropped this version, lock the current ones: run 'make images-lock' on Debian, test and commit.\n"+
		"$FAIRLEAD_DEBIAN_MIRROR names another mirror, such as %s",
		p.Name, p.Version, p.Arch, errors.Join(errs...), Mirror)
}

// check compares a file with its checksum.
func check(file, sum string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("the SHA-256 is %s and not %s", got, sum)
	}
	return nil
}

// aptHelper is a program of apt. It uses apt's proxies and credentials.
const aptHelper = "/usr/lib/apt/apt-helper"

// attempt is how long a download may take.
const attempt = 2 * time.Minute

// download loads a file, by apt's program if there is one.
func download(ctx context.Context, from, file string) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	if _, err := os.Stat(aptHelper); errors.Is(err, fs.ErrNotExist) {
		return get(ctx, from, file)
	}
	cmd := exec.CommandContext(ctx, aptHelper, "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "download-file", from, file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-helper: %w: %s", err, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}

func get(ctx context.Context, from, file string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}

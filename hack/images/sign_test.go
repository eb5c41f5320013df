// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-proxy/fairlead/hack/images/sign"
)

// testKey makes a key, and writes it into a file.
func testKey(t *testing.T) (*ecdsa.PublicKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey, file
}

// testRegistry starts a registry on loopback, in memory. It returns its address, and a function that
// returns where manifests have been written, in order.
func testRegistry(t *testing.T) (string, func() []string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // without this machine's credentials
	var mu sync.Mutex
	var written []string
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			mu.Lock()
			written = append(written, path.Base(r.URL.Path))
			mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(written)
	}
}

// A client of the registry finds a valid signature of every image, at the tag where `cosign
// verify` looks and among the referrers, and nothing that is not signed has a signature.
func TestPushSigned(t *testing.T) {
	public, file := testKey(t)
	host, written := testRegistry(t)
	out := t.TempDir()
	t.Setenv("SIGNING_KEY", file)
	if err := run(t.Context(), checkoutDir(), testVersion, []string{"build", out, "bundle=" + host + "/a/bundle:v1"}); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), checkoutDir(), "", []string{"push", out}); err != nil {
		t.Fatal(err)
	}
	if w := written(); len(w) == 0 || slices.Index(w, "v1") != len(w)-1 {
		t.Errorf("the tag v1 is not written last, when the signatures are there: %q", w)
	}
	l := readLayout(t, filepath.Join(out, "bundle"))
	want := []string{l.named.Digest.String()}
	for _, i := range l.images {
		want = append(want, i.descriptor.Digest.String())
	}
	repository, err := name.NewRepository(host + "/a/bundle")
	if err != nil {
		t.Fatal(err)
	}
	if pushed, err := remote.Head(repository.Tag("v1")); err != nil || pushed.Digest.String() != want[0] {
		t.Fatalf("the tag is %v, %v and not %s", pushed, err, want[0])
	}
	tags, err := remote.List(repository)
	if err != nil {
		t.Fatal(err)
	}
	wantTags := []string{"v1"}
	for _, image := range want {
		wantTags = append(wantTags, strings.Replace(image, ":", "-", 1)+".sig")
		checkSignature(t, public, repository, image)
	}
	// The registry of the test does not say that it lists referrers: clients add tags for them.
	tags = slices.DeleteFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, "sha256-") && !strings.Contains(tag, ".") })
	slices.Sort(wantTags)
	if diff := cmp.Diff(wantTags, slices.Sorted(slices.Values(tags))); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	for arch, i := range l.images {
		referrers := referrersOf(t, repository, i.descriptor.Digest.String())
		if diff := cmp.Diff([]string{"application/spdx+json", "application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.in-toto+json"},
			slices.Sorted(maps.Keys(referrers))); diff != "" {
			t.Errorf("attached to the image of %s (-want +got):\n%s", arch, diff)
		}
	}
}

// referrersOf returns the manifests that are attached to an image, by their artifactType. It reads
// them: the registry of the test lists them with the type of their configuration.
func referrersOf(t *testing.T, repository name.Repository, image string) map[string]v1.Hash {
	t.Helper()
	index, err := remote.Referrers(repository.Digest(image))
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]v1.Hash{}
	for _, d := range list.Manifests {
		artifact, err := remote.Get(repository.Digest(d.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		var manifest ociv1.Manifest
		parse(t, artifact.Manifest, &manifest)
		out[manifest.ArtifactType] = d.Digest
	}
	return out
}

// checkSignature verifies the signature of an image as cosign's specification says.
func checkSignature(t *testing.T, public *ecdsa.PublicKey, repository name.Repository, image string) {
	t.Helper()
	signature, err := remote.Image(repository.Tag(strings.Replace(image, ":", "-", 1) + ".sig"))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := signature.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := referrersOf(t, repository, image)["application/vnd.dev.cosign.artifact.sig.v1+json"]; got != digest {
		t.Errorf("the signature among the referrers of %s is %s and not %s", image, got, digest)
	}
	manifest, err := signature.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != "application/vnd.dev.cosign.simplesigning.v1+json" {
		t.Fatalf("the signature of %s has the layers %+v", image, manifest.Layers)
	}
	layer, err := signature.LayerByDigest(manifest.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		repository.Name(), image)
	if diff := cmp.Diff(want, string(payload)); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	der, err := base64.StdEncoding.DecodeString(manifest.Layers[0].Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		t.Fatal(err)
	}
	if hash := sha256.Sum256(payload); !ecdsa.VerifyASN1(public, hash[:], der) {
		t.Errorf("the signature of %s is not valid", image)
	}
}

// A signature changes nothing else: the layout has the same blobs and more, the same digests,
// and signing it again with the same key gives the same bytes.
func TestSignedLayout(t *testing.T) {
	_, file := testKey(t)
	key, err := sign.ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	first, second := t.TempDir(), t.TempDir()
	reference := []string{"bundle=registry.example/fairlead-bundle:" + testVersion}
	for _, out := range []string{first, second} {
		if err := build(t.Context(), testSource(checkoutDir()), key, out, reference); err != nil {
			t.Fatal(err)
		}
	}
	same(t, first, second)
	unsigned, signed := read(t, "bundle"), readLayout(t, filepath.Join(first, "bundle"))
	if unsigned.named.Digest != signed.named.Digest {
		t.Errorf("the signed image is %s and not %s", signed.named.Digest, unsigned.named.Digest)
	}
	for d := range unsigned.read {
		if !signed.read[d] {
			t.Errorf("the signed layout does not have the blob %s", d)
		}
	}
	if len(unsigned.signatures) != 0 || len(signed.signatures) != 1+len(platforms) {
		t.Errorf("%d and %d signatures", len(unsigned.signatures), len(signed.signatures))
	}
}

func TestPushOfNothing(t *testing.T) {
	if err := push(t.Context(), t.TempDir()); err == nil {
		t.Error("no error")
	}
}

// A key that cannot sign ends the build before it begins, and the error says what to look at.
func TestUnusableKey(t *testing.T) {
	for name, file := range map[string]string{
		"missing":     filepath.Join(t.TempDir(), "key.pem"),
		"no PEM":      filepath.Join(checkoutDir(), "LICENSE"),
		"a directory": t.TempDir(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SIGNING_KEY", file)
			err := run(t.Context(), t.TempDir(), testVersion, []string{"build", t.TempDir(), "bundle=x"})
			if err == nil || !strings.HasPrefix(err.Error(), "SIGNING_KEY: ") || !strings.Contains(err.Error(), file) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

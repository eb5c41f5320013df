// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func TestReadKey(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(p256)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	must(t, err)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		return block("PRIVATE KEY", der)
	}
	for name, c := range map[string]struct {
		file []byte
		want string // a part of the error; empty: the key is p256
	}{
		"SEC 1":                   {block("EC PRIVATE KEY", sec1), ""},
		"SEC 1 with parameters":   {append(block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), block("EC PRIVATE KEY", sec1)...), ""},
		"PKCS #8":                 {pkcs8(p256), ""},
		"P-384":                   {pkcs8(p384), "ECDSA P-256"},
		"Ed25519":                 {pkcs8(edwards), "ECDSA P-256"},
		"RSA":                     {pkcs8(rsa2048), "ECDSA P-256"},
		"PKCS #8, encrypted":      {block("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted"},
		"of cosign, encrypted":    {block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x")), "encrypted"},
		"SEC 1, encrypted":        {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")}), "encrypted"},
		"a public key":            {block("PUBLIC KEY", public), "no private key"},
		"not PEM":                 {sec1, "no private key"},
		"SEC 1 as PKCS #8":        {block("PRIVATE KEY", sec1), "x509"},
		"a key that is cut":       {block("EC PRIVATE KEY", sec1[:20]), "asn1"},
		"PKCS #8 that is not DER": {block("PRIVATE KEY", []byte("x")), "asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key.pem")
			must(t, os.WriteFile(file, c.file, 0o600))
			key, err := ReadKey(file)
			switch {
			case c.want == "" && (err != nil || !key.private.Equal(p256)):
				t.Errorf("the key is %v, %v", key, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file)):
				t.Errorf("the error is %v and not one with %q and the file", err, c.want)
			}
		})
	}
}

// A signature is valid for its own image only, and the same each time.
func TestArtifact(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key := &Key{private}
	one, other := digest.FromString("one"), digest.FromString("other")
	a, err := key.Artifact("registry.example/agent", one)
	must(t, err)
	again, err := key.Artifact("registry.example/agent", one)
	must(t, err)
	if diff := cmp.Diff(a, again); diff != "" {
		t.Errorf("the second signature (-first +second):\n%s", diff)
	}
	b, err := key.Artifact("registry.example/agent", other)
	must(t, err)
	if bytes.Equal(a.Content, b.Content) || a.ContentAnnotations[Annotation] == b.ContentAnnotations[Annotation] {
		t.Error("two images have the same signature")
	}
	for _, c := range []struct {
		payload, signature string
		valid              bool
	}{
		{string(a.Content), a.ContentAnnotations[Annotation], true},
		{string(b.Content), b.ContentAnnotations[Annotation], true},
		{string(a.Content), b.ContentAnnotations[Annotation], false},
	} {
		der, err := base64.StdEncoding.DecodeString(c.signature)
		must(t, err)
		hash := sha256.Sum256([]byte(c.payload))
		if got := ecdsa.VerifyASN1(&private.PublicKey, hash[:], der); got != c.valid {
			t.Errorf("the signature of %s is valid: %v", c.payload, got)
		}
	}
}

func TestTag(t *testing.T) {
	image := "97fc222cee7991b5b061d4d4afdb5f3428fcb0c9054e1690313786befa1e4e36" // of the specification
	if got, want := Tag(digest.NewDigestFromEncoded(digest.SHA256, image)), "sha256-"+image+".sig"; got != want {
		t.Errorf("the tag is %s and not %s", got, want)
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

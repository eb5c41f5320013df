// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sign signs images in the way that `cosign verify --key` checks: cosign's signature
// specification (specs/SIGNATURE_SPEC.md), not the bundle format of cosign 3, which cosign 2 and
// most admission controllers do not read.
//
// A signature is a manifest with one layer: the payload, in the format "simple signing", which
// names the digest of the image. An annotation of the layer is the signature of the payload. The
// manifest is one of the image's referrers (OCI 1.1), where `cosign verify --experimental-oci11`
// looks; without this flag cosign looks at Tag.
package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/fairlead-proxy/fairlead/hack/images/oci"
)

const (
	// ArtifactType is the artifactType of a signature's manifest.
	ArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json"
	// MediaTypePayload is the media type of a signature's layer.
	MediaTypePayload = "application/vnd.dev.cosign.simplesigning.v1+json"
	// Annotation is the annotation of the layer: an ECDSA signature of the SHA-256 of the
	// payload, as ASN.1, in base64.
	Annotation = "dev.cosignproject.cosign/signature"
)

// Payload is what is signed. Its JSON has the names of containers-signature(5).
type Payload struct {
	Critical struct {
		Identity struct {
			// Reference is the repository of the image, without a tag.
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"` // payloadType
	} `json:"critical"`
	Optional map[string]string `json:"optional"`
}

const payloadType = "cosign container image signature"

// Key is a private key, ECDSA P-256.
type Key struct {
	private *ecdsa.PrivateKey
}

// ReadKey reads a key from a PEM file: SEC 1 or PKCS #8, not encrypted.
func ReadKey(file string) (*Key, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("read the signing key: %s has no private key in PEM", file)
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") { // `openssl ecparam -genkey` writes EC PARAMETERS first
			continue
		}
		private, err := parse(block)
		if err != nil {
			return nil, fmt.Errorf("read the signing key: %s: %w", file, err)
		}
		return &Key{private}, nil
	}
}

func parse(block *pem.Block) (*ecdsa.PrivateKey, error) {
	if strings.HasPrefix(block.Type, "ENCRYPTED ") || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the key is encrypted")
	}
	var key any
	var err error
	if block.Type == "EC PRIVATE KEY" {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("the key is not of the type ECDSA P-256")
	}
	return private, nil
}

// Artifact returns the signature of the image, or index of images, with a digest in a
// repository. The same key and image give the same signature.
func (k *Key) Artifact(repository string, image digest.Digest) (oci.Artifact, error) {
	var payload Payload
	payload.Critical.Identity.Reference = repository
	payload.Critical.Image.Digest = image
	payload.Critical.Type = payloadType
	content, err := json.Marshal(payload)
	if err != nil {
		return oci.Artifact{}, err
	}
	hash := sha256.Sum256(content)
	signature, err := k.private.Sign(nil, hash[:], crypto.SHA256) // without a source of randomness: RFC 6979
	if err != nil {
		return oci.Artifact{}, fmt.Errorf("sign %s: %w", image, err)
	}
	return oci.Artifact{
		Type: ArtifactType, MediaType: MediaTypePayload, Content: content,
		ContentAnnotations: map[string]string{Annotation: base64.StdEncoding.EncodeToString(signature)},
	}, nil
}

// Tag is where cosign looks for the signature of an image, in the image's repository.
func Tag(image digest.Digest) string {
	return image.Algorithm().String() + "-" + image.Encoded() + ".sig"
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Digest returns 64 bits of the SHA-256 of a spec (without its own digest), in
// hexadecimal. No two slices have equal specs, which would cancel out in XORDigest, because
// the name follows from the spec (see SliceName).
func Digest(spec v1alpha1.ServiceRuleSliceSpec) string {
	spec.Digest = ""
	text, err := json.Marshal(spec)
	if err != nil {
		// A struct of strings and numbers always encodes.
		panic(fmt.Sprintf("encode part %d of %s: %v", spec.Part, ServiceOf(&spec), err))
	}
	sum := sha256.Sum256(text)
	return FormatDigest(binary.BigEndian.Uint64(sum[:]))
}

// XORDigest combines digests of slices. The order does not matter, and adding a digest a
// second time removes it. Text that is not a digest is hashed, so that it changes the
// result.
func XORDigest(digests ...string) string {
	var sum uint64
	for _, d := range digests {
		sum ^= DigestNumber(d)
	}
	return FormatDigest(sum)
}

// DigestNumber returns a digest as the number that XORDigest combines.
func DigestNumber(digest string) uint64 {
	n, err := strconv.ParseUint(digest, 16, 64)
	if err != nil {
		h := fnv.New64a()
		h.Write([]byte(digest))
		return h.Sum64()
	}
	return n
}

// FormatDigest is the reverse of DigestNumber.
func FormatDigest(n uint64) string { return fmt.Sprintf("%016x", n) }

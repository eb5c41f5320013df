// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestTearRecord checks that a journal that a killed agent leaves is torn in the middle of a
// record: whole records are there, or nothing is.
func TestTearRecord(t *testing.T) {
	var journal []byte
	ends := []int{0}
	for _, length := range []int{12, 1, 30} {
		journal = binary.BigEndian.AppendUint32(journal, uint32(length))
		journal = append(journal, make([]byte, 4+length)...)
		ends = append(ends, len(journal))
	}
	for bytes := 1; bytes <= len(journal)+1; bytes++ {
		d := &disk{root: t.TempDir()}
		if err := d.take(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(d.dir, checkpoint)
		if err := os.WriteFile(path, journal, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.tearRecord(int64(bytes)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		want := max(0, len(journal)-bytes)
		if slices.Contains(ends, want) {
			want = max(0, want-1)
		}
		if info.Size() != int64(want) {
			t.Errorf("%d bytes less of %d: %d are left, not %d", bytes, len(journal), info.Size(), want)
		}
	}
}

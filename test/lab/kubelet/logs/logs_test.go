// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openLog(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "0.log"), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func closedChannel() <-chan struct{} {
	ended := make(chan struct{})
	close(ended)
	return ended
}

func TestRead(t *testing.T) {
	file := openLog(t)
	for stream, text := range map[string]string{
		"stdout": "one\ntwo\n" + strings.Repeat("x", maxLine+3) + "\nlast without end",
	} {
		if err := Write(file, stream, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", maxLine+3) + "\n"
	cases := map[string]struct {
		options Options
		want    string
	}{
		"all":       {Options{Tail: -1}, "one\ntwo\n" + long + "last without end"},
		"tail 1":    {Options{Tail: 1}, "last without end"},
		"tail 0":    {Options{Tail: 0}, ""},
		"tail many": {Options{Tail: 99}, "one\ntwo\n" + long + "last without end"},
		"limit":     {Options{Tail: -1, Limit: 5}, "one\nt"},
		"too old":   {Options{Tail: -1, Since: time.Now().Add(time.Hour)}, ""},
		"follow":    {Options{Tail: -1, Follow: true, Limit: 8}, "one\ntwo\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := Read(t.Context(), file.Name(), tc.options, closedChannel(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.String()); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadTimestamps(t *testing.T) {
	file := openLog(t)
	if err := Write(file, "stderr", strings.NewReader("oops\n")); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := Read(t.Context(), file.Name(), Options{Tail: -1, Timestamps: true}, closedChannel(), &got); err != nil {
		t.Fatal(err)
	}
	stamp, text, _ := strings.Cut(got.String(), " ")
	if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || text != "oops\n" {
		t.Errorf("got %q (%v)", got.String(), err)
	}
}

// A follower sees what is written later, and ends with the container or with
// its own client.
func TestFollow(t *testing.T) {
	file := openLog(t)
	if err := Write(file, "stdout", strings.NewReader("one\n")); err != nil {
		t.Fatal(err)
	}
	follow := func(ctx context.Context, ended <-chan struct{}) (*io.PipeReader, chan error) {
		read, write := io.Pipe()
		result := make(chan error, 1)
		go func() {
			result <- Read(ctx, file.Name(), Options{Tail: -1, Follow: true}, ended, write)
			write.Close()
		}()
		return read, result
	}
	expect := func(reader io.Reader, want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	ended := make(chan struct{})
	reader, result := follow(t.Context(), ended)
	expect(reader, "one\n")
	if err := Write(file, "stdout", strings.NewReader("two\n")); err != nil {
		t.Fatal(err)
	}
	expect(reader, "two\n")
	close(ended)
	if err := <-result; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	reader, result = follow(ctx, make(chan struct{}))
	expect(reader, "one\ntwo\n")
	cancel()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

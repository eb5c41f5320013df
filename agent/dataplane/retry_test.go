// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRetry(t *testing.T) {
	justNow, notThere := errors.New("no memory"), fmt.Errorf("IPVS: %w", Unsupported(errors.New("no module")))
	cases := map[string]struct {
		errs []error // one after the other
		want time.Duration
	}{
		"nothing has failed":    {nil, 0},
		"just now":              {[]error{justNow}, time.Second},
		"again":                 {[]error{justNow, justNow, justNow}, 4 * time.Second},
		"for long":              {[]error{justNow, justNow, justNow, justNow, justNow, justNow, justNow, justNow, justNow, justNow, justNow, justNow, justNow}, slowPeriod},
		"not there":             {[]error{notThere}, slowPeriod},
		"it has succeeded":      {[]error{justNow, justNow, nil}, 0},
		"and begins from anew":  {[]error{justNow, justNow, nil, justNow}, time.Second},
		"not there any more":    {[]error{justNow, notThere}, slowPeriod},
		"there, but just fails": {[]error{notThere, justNow}, time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r Retry
			now := time.Unix(1000, 0)
			for _, err := range tc.errs {
				r.Failed(now, err)
			}
			if got := r.Wait(now); got < tc.want || got > tc.want+tc.want/10 {
				t.Errorf("waits %v, want %v and a tenth of jitter", got, tc.want)
			}
			if got := r.Wait(now.Add(2 * slowPeriod)); got != 0 {
				t.Errorf("after that it waits %v", got)
			}
		})
	}
}

// Unsupported adds to an error what it means, and hides nothing of it.
func TestUnsupported(t *testing.T) {
	cause := &os.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	for name, tc := range map[string]struct {
		err         error
		unsupported bool
	}{
		"missing":           {Unsupported(cause), true},
		"missing, wrapped":  {fmt.Errorf("IPVS: %w", Unsupported(cause)), true},
		"missing, of twice": {Unsupported(fmt.Errorf("IPVS: %w", Unsupported(cause))), true},
		"just now":          {fmt.Errorf("IPVS: %w", cause), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := errors.Is(tc.err, ErrUnsupported); got != tc.unsupported {
				t.Errorf("unsupported: %v", got)
			}
			var path *os.PathError
			if !errors.Is(tc.err, fs.ErrNotExist) || !errors.As(tc.err, &path) || path != cause {
				t.Errorf("%v hides its cause", tc.err)
			}
			if !strings.HasSuffix(tc.err.Error(), cause.Error()) {
				t.Errorf("text %q", tc.err)
			}
		})
	}
	if err := Unsupported(nil); err != nil {
		t.Errorf("nothing is missing, and it is %v", err)
	}
}

// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import "github.com/fairlead-proxy/fairlead/agent/kernel/nft"

// batchSize is the number of operations after which a batch ends as soon as it may.
const batchSize = 1 << 14

// batches are the result of a plan, in order: first what a detour needs, then the change
// proper. Before each come the new chains, and after it the later deletions. All except the
// change are usually empty.
type batches [2]step

type step struct{ chains, batch, later *parts }

func newBatches(size int) *batches {
	var b batches
	for i := range b {
		b[i] = step{newParts(size), newParts(size), newParts(size)}
	}
	return &b
}

// inOrder returns the batches that are not empty.
func (b *batches) inOrder() (out []*nft.Batch) {
	for _, step := range b {
		for _, p := range []*parts{step.chains, step.batch, step.later} {
			out = append(out, p.full...)
			if p.Operations() > 0 {
				out = append(out, p.Batch)
			}
		}
	}
	return out
}

func (b *batches) operations() (n int) {
	for _, batch := range b.inOrder() {
		n += batch.Operations()
	}
	return n
}

// parts are the batches of a change that is too large for one. Each ends where the tables
// are consistent: every frontend leads to its endpoints, the old ones or the new ones, and
// what nothing leads to is harmless.
type parts struct {
	*nft.Batch // the current one
	full       []*nft.Batch
	size       int
	whole      bool // no batch may end
}

func newParts(size int) *parts { return &parts{Batch: nft.NewBatch(), size: size} }

// mayEnd says that the tables are consistent after the operations so far.
func (p *parts) mayEnd() {
	if p.Operations() >= p.size && !p.whole {
		p.full = append(p.full, p.Batch)
		p.Batch = p.Next()
	}
}

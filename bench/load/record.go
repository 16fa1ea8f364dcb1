package main

// What one client lived through: which version answered it from when to when, and its longest times without an answer.

import (
	"slices"
	"sync/atomic"
	"time"
)

const keptGaps = 8

// record belongs to one client and is read once that has ended. A nil one takes nothing in.
type record struct {
	kind        clientKind
	number      int
	answers     int64
	failures    int64
	connections atomic.Int64 // counted by a library's own goroutines
	toldCount   int64
	againCount  int64
	spans       []span
	gaps        []feltGap // longest first
	longestWait time.Duration
}

// span is a time in which all answers were of one version.
type span struct {
	version     string
	answers     int64
	first, last time.Time
}

type feltGap struct{ from, until time.Time }

func (r *record) answered(version string, lastGood, asked, at time.Time) {
	if r == nil {
		return
	}
	r.answers++
	r.longestWait = max(r.longestWait, at.Sub(asked))
	r.gap(lastGood, at)
	if len(r.spans) == 0 || r.spans[len(r.spans)-1].version != version {
		r.spans = append(r.spans, span{version: version, first: at})
	}
	last := &r.spans[len(r.spans)-1]
	last.answers++
	last.last = at
}

// gap: the time between two good answers, the client's own pace included.
func (r *record) gap(from, until time.Time) {
	if r == nil {
		return
	}
	longer := func(gap feltGap, than time.Duration) int {
		return int(than - gap.until.Sub(gap.from))
	}
	place, _ := slices.BinarySearchFunc(r.gaps, until.Sub(from), longer)
	if place < keptGaps {
		r.gaps = slices.Insert(r.gaps, place, feltGap{from, until})
		r.gaps = r.gaps[:min(len(r.gaps), keptGaps)]
	}
}

func (r *record) failed() {
	if r != nil {
		r.failures++
	}
}

func (r *record) told() {
	if r != nil {
		r.toldCount++
	}
}

func (r *record) askedAgain() {
	if r != nil {
		r.againCount++
	}
}

func (r *record) connected() {
	if r != nil {
		r.connections.Add(1)
	}
}

type clientSummary struct {
	Number      int           `json:"number"`
	Kind        clientKind    `json:"kind"`
	Answers     int64         `json:"answers"`
	Failures    int64         `json:"failures"`
	Connections int64         `json:"connections"`
	Told        int64         `json:"told_to_close"`
	AskedAgain  int64         `json:"asked_again"`
	Spans       []spanSummary `json:"spans"`
	Gaps        []spanGap     `json:"gaps"` // longest first
	LongestWait int64         `json:"longest_wait_ms"`
}

type spanSummary struct {
	Version string `json:"version"`
	Answers int64  `json:"answers"`
	First   string `json:"first"`
	Last    string `json:"last"`
}

type spanGap struct {
	Ms    int64  `json:"ms"`
	Until string `json:"until"`
}

func (r *record) summary() clientSummary {
	s := clientSummary{
		Number: r.number, Kind: r.kind, Answers: r.answers, Failures: r.failures, Connections: r.connections.Load(),
		Told: r.toldCount, AskedAgain: r.againCount, LongestWait: r.longestWait.Milliseconds(),
		Spans: []spanSummary{}, Gaps: []spanGap{},
	}
	for _, one := range r.spans {
		s.Spans = append(s.Spans, spanSummary{one.version, one.answers, stamp(one.first), stamp(one.last)})
	}
	for _, gap := range r.gaps {
		s.Gaps = append(s.Gaps, spanGap{gap.until.Sub(gap.from).Milliseconds(), stamp(gap.until)})
	}
	return s
}

package main

// One simulated user: its turns, its connection, and what it reports to the tally.

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

type clientKind string

const (
	keepAlive clientKind = "keepalive"
	oneShot   clientKind = "oneshot"

	unknownVersion = "unknown"
	// A client whose connection nobody watches looks this often whether it, or the run, has ended.
	thinkSlice = 200 * time.Millisecond
	// One whose idle connection is watched hears of its end at once: this is only for the end of the run, and thousands
	// of clients who looked more often would need more of the processor than their requests do.
	watchSlice = time.Second
)

type client struct {
	number   int
	kind     clientKind
	settings settings
	script   script
	resolver *resolver
	tally    *tally
	budget   *budget
	random   *rand.Rand
	conn     *connection
	lastGood time.Time
	record   *record
}

// budget hands out the requests of a run that has a bounded number of them.
type budget struct {
	left    atomic.Int64
	bounded bool
}

func newBudget(requests int64) *budget {
	b := &budget{bounded: requests > 0}
	b.left.Store(requests)
	return b
}

func (b *budget) take() bool { return !b.bounded || b.left.Add(-1) >= 0 }

// run takes turns until the context ends or the budget is spent. A request in flight is always finished.
func (c *client) run(ctx context.Context) {
	defer c.disconnect()
	c.lastGood = time.Now()
	interval := c.settings.turnInterval(c.kind)
	turn := time.Now().Add(time.Duration(c.random.Float64() * float64(interval)))
	// The next call is ready before its turn: nothing stands between the last look at the connection
	// and the request.
	for call := c.script.next(); c.think(ctx, turn) && c.budget.take(); call = c.script.next() {
		started := time.Now()
		c.ask(call, started)
		// A late client skips the turns that it missed: the loop is closed.
		turn = started.Add(c.settings.thought(c.random, interval))
	}
	now := time.Now()
	c.tally.gap(c.number, now.Sub(c.lastGood), now)
	c.record.gap(c.lastGood, now)
}

// think waits for the client's turn and watches its idle connection meanwhile; false: the run is over.
func (c *client) think(ctx context.Context, turn time.Time) bool {
	for ctx.Err() == nil {
		now := time.Now()
		until := now.Add(min(turn.Sub(now), watchSlice))
		if c.conn == nil {
			waitUntil(ctx, until)
		} else {
			c.watch(until)
		}
		if !time.Now().Before(turn) {
			return true
		}
	}
	return false
}

func (c *client) watch(until time.Time) {
	end := c.conn.watchIdle(until)
	if end == idleStillOpen {
		return
	}
	c.tally.idleEnded(end)
	if end == idleUnasked {
		c.fail(failedProtocol, errors.New("bytes without a request"), &call{method: "-", path: "-"}, time.Now())
	}
	c.disconnect()
}

func waitUntil(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (c *client) ask(call *call, started time.Time) {
	// Longer than -timeout, to tell a late answer from none; both are failures.
	deadline := started.Add(c.settings.timeout + c.settings.timeout/2)
	c.tally.asked(call)
	if c.conn == nil {
		conn, err := dial(c.resolver.next(), deadline)
		if err != nil {
			c.failed(err, call, started)
			return
		}
		c.conn = conn
		c.tally.connected()
		c.record.connected()
	}
	got, err := c.conn.exchange(call, deadline)
	if err != nil {
		c.failed(err, call, started)
		return
	}
	c.judge(call, got, started)
	if got.closes && c.kind == keepAlive {
		c.tally.toldToClose()
		c.record.told()
	}
	if got.closes || c.kind == oneShot {
		c.disconnect()
	}
}

func (c *client) judge(call *call, got answer, started time.Time) {
	now := time.Now()
	kind := statusFailure(got.status, call.expected)
	if kind == "" && now.Sub(started) > c.settings.timeout {
		kind = failedLate
	}
	version := c.settings.versionOf(got)
	c.tally.answered(exchanged{c.kind, version, now, now.Sub(started), kind})
	if kind != "" {
		c.record.failed()
		c.sample(kind, errors.New(snippet(got)), call, now, version, got.status)
		c.tally.unacknowledged(call)
		return
	}
	c.tally.acknowledge(call)
	c.script.acknowledged(call)
	c.tally.gap(c.number, now.Sub(c.lastGood), now)
	c.record.answered(version, c.lastGood, started, now)
	c.lastGood = now
}

func (c *client) failed(err error, call *call, started time.Time) {
	kind := failedProtocol
	var wire *wireError
	if errors.As(err, &wire) {
		kind = wire.kind
	}
	c.tally.unacknowledged(call)
	c.fail(kind, err, call, started)
	c.disconnect()
}

func (c *client) fail(kind failureKind, err error, call *call, started time.Time) {
	now := time.Now()
	c.tally.answered(exchanged{c.kind, "", now, now.Sub(started), kind})
	c.record.failed()
	c.sample(kind, err, call, now, "", 0)
}

func (c *client) sample(kind failureKind, err error, call *call, at time.Time, version string, status int) {
	s := failureSample{
		At: stamp(at), Kind: kind, Client: c.kind, ClientNumber: c.number,
		Method: call.method, Path: call.path, Version: version, Status: status, Error: err.Error(),
	}
	if c.conn != nil {
		s.Peer = c.conn.RemoteAddr().String()
		s.RequestsOnConnection = c.conn.requests
		s.ConnectionAgeMs = at.Sub(c.conn.openedAt).Milliseconds()
	}
	c.tally.sample(s)
}

func (c *client) disconnect() {
	if c.conn == nil {
		return
	}
	c.conn.Close()
	c.conn = nil
	c.tally.disconnected()
}

func (s settings) versionOf(got answer) string {
	version := ""
	switch {
	case s.versionPattern != nil:
		var told []string
		if s.versionHeader != "" {
			told = append(told, got.header.Get(s.versionHeader))
		}
		for _, match := range s.versionPattern.FindAllSubmatch(got.body, -1) {
			told = append(told, string(match[1]))
		}
		version = strings.Join(told, "+")
	case s.versionHeader != "":
		version = got.header.Get(s.versionHeader)
	case s.versionJSON != "":
		var body map[string]json.RawMessage
		if json.Unmarshal(got.body, &body) == nil && json.Unmarshal(body[s.versionJSON], &version) != nil {
			version = ""
		}
	}
	if version == "" {
		return unknownVersion
	}
	return version
}

func snippet(got answer) string {
	const limit = 160
	if len(got.body) > limit {
		return string(got.body[:limit])
	}
	return string(got.body)
}

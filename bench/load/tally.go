package main

// Counts what all clients report; one lock, held for a few additions at a time.

import (
	"maps"
	"sync"
	"time"
)

const maxFailureSamples = 40

// exchanged is one request that ended, well or not; version is "" when no answer came.
type exchanged struct {
	client  clientKind
	version string
	at      time.Time
	latency time.Duration
	failure failureKind
}

type versionTally struct {
	answers, failures int64
	latency           histogram
	kinds             map[clientKind]*kindTally
}

type kindTally struct {
	answers     int64
	first, last time.Time
	begun       time.Time // the latest one's start, before its connection was opened if it needed one
}

type secondTally struct {
	requests, failures int64
	versions           map[string]int
}

type tally struct {
	mu             sync.Mutex
	startedAt      time.Time
	requests       int64
	failures       int64
	byKind         map[failureKind]int64
	lastFailure    failureKind
	creates        int64
	connections    connectionSummary
	open           int64
	versions       map[string]*versionTally
	latency        histogram
	secondLatency  histogram
	seconds        []secondTally
	longestGap     gapSummary
	acked, unacked []executionID
	samples        []failureSample
}

func newTally(startedAt time.Time) *tally {
	return &tally{startedAt: startedAt, byKind: map[failureKind]int64{}, versions: map[string]*versionTally{}}
}

func (t *tally) asked(c *call) {
	if c.creates == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.creates++
}

func (t *tally) answered(e exchanged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := t.second(e.at)
	t.requests++
	second.requests++
	if e.failure != "" {
		t.failures++
		second.failures++
		t.byKind[e.failure]++
		t.lastFailure = e.failure
	}
	if e.version == "" {
		return
	}
	t.latency.add(e.latency)
	t.secondLatency.add(e.latency)
	second.versions[e.version]++
	t.version(e.version).add(e)
}

func (t *tally) second(at time.Time) *secondTally {
	index := max(0, int(at.Sub(t.startedAt)/time.Second))
	for len(t.seconds) <= index {
		t.seconds = append(t.seconds, secondTally{versions: map[string]int{}})
	}
	return &t.seconds[index]
}

func (t *tally) version(name string) *versionTally {
	v := t.versions[name]
	if v == nil {
		v = &versionTally{kinds: map[clientKind]*kindTally{}}
		t.versions[name] = v
	}
	return v
}

func (v *versionTally) add(e exchanged) {
	v.answers++
	if e.failure != "" {
		v.failures++
	}
	v.latency.add(e.latency)
	kind := v.kinds[e.client]
	if kind == nil {
		kind = &kindTally{first: e.at, last: e.at}
		v.kinds[e.client] = kind
	}
	kind.answers++
	if e.at.Before(kind.first) {
		kind.first = e.at
	}
	if e.at.After(kind.last) {
		kind.last = e.at
	}
	if begun := e.at.Add(-e.latency); begun.After(kind.begun) {
		kind.begun = begun
	}
}

func (t *tally) acknowledge(c *call) { t.remember(c, &t.acked) }

func (t *tally) unacknowledged(c *call) { t.remember(c, &t.unacked) }

func (t *tally) remember(c *call, ids *[]executionID) {
	if c.creates == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	*ids = append(*ids, *c.creates)
}

func (t *tally) gap(client int, gap time.Duration, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ms := gap.Milliseconds(); ms > t.longestGap.Ms {
		t.longestGap = gapSummary{ms, client, stamp(until)}
	}
}

func (t *tally) sample(s failureSample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.samples) < maxFailureSamples {
		t.samples = append(t.samples, s)
	}
}

func (t *tally) connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connections.Opened++
	t.open++
}

func (t *tally) disconnected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
}

func (t *tally) toldToClose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connections.ToldToClose++
}

func (t *tally) askedAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connections.AskedAgain++
}

func (t *tally) idleEnded(end idleEnd) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch end {
	case idleClosed:
		t.connections.IdleClosed++
	case idleReset:
		t.connections.IdleReset++
	}
}

// progress reports the last whole second and begins the next one's latencies.
func (t *tally) progress(now time.Time) progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := progress{
		At: stamp(now), ElapsedSeconds: round2(now.Sub(t.startedAt).Seconds()), Requests: t.requests,
		Failures: t.failures, Connections: t.open, SecondP95Ms: round2(t.secondLatency.quantile(0.95)),
		SecondVersions: map[string]int{}, LastFailureKind: t.lastFailure,
	}
	t.secondLatency = histogram{}
	if last := int(now.Sub(t.startedAt)/time.Second) - 1; last >= 0 && last < len(t.seconds) {
		p.SecondRequests, p.SecondFailures = t.seconds[last].requests, t.seconds[last].failures
		p.SecondVersions = maps.Clone(t.seconds[last].versions)
	}
	return p
}

func (t *tally) summary(s settings, endedAt time.Time) summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	report := summary{
		Loop: "closed with think time", Profile: s.profile, URL: s.url.String(),
		KeepAliveClients: s.keepAlive, OneShotClients: s.oneShot, Rate: s.rate,
		KeepAliveTurnMs: s.turnInterval(keepAlive).Milliseconds(), OneShotTurnMs: s.turnInterval(oneShot).Milliseconds(),
		TimeoutMs: s.timeout.Milliseconds(), StartedAt: stamp(t.startedAt), EndedAt: stamp(endedAt),
		DurationSeconds: round2(endedAt.Sub(t.startedAt).Seconds()), Requests: t.requests, Failures: t.failures,
		FailuresByKind: t.byKind, Creates: t.creates, Connections: t.connections,
		Versions: map[string]versionSummary{}, Latency: t.latency.summary(), LongestGap: t.longestGap,
		Writes:  writeSummary{Acknowledged: len(t.acked), Unacknowledged: len(t.unacked)},
		Seconds: [][]any{}, FailureSamples: append([]failureSample{}, t.samples...),
	}
	for name, v := range t.versions {
		report.Versions[name] = v.summary()
	}
	for second, counted := range t.seconds {
		report.Seconds = append(report.Seconds, []any{second, counted.requests, counted.failures, counted.versions})
	}
	return report
}

func (v *versionTally) summary() versionSummary {
	return versionSummary{
		Answers: v.answers, Failures: v.failures, Latency: v.latency.summary(),
		KeepAlive: v.kinds[keepAlive].summary(), OneShot: v.kinds[oneShot].summary(),
		H2: v.kinds[h2Client].summary(), Grpc: v.kinds[grpcClient].summary(),
		GrpcStream: v.kinds[grpcStream].summary(), Websocket: v.kinds[websocketClient].summary(),
	}
}

func (k *kindTally) summary() *answersOfKind {
	if k == nil {
		return nil
	}
	return &answersOfKind{k.answers, stamp(k.first), stamp(k.last), stamp(k.begun)}
}

package main

// Clients that hold one connection for as long as the server lets them: HTTP/2, gRPC, WebSocket.
//
// A server ends such a connection in order when it says so by the protocol's own means (GOAWAY, the end of a stream with
// status OK, close frame 1001). What it refused unprocessed, or what crossed that word on the way, the client asks
// again at once on its next connection, as the protocols allow; it is counted apart, and its time is part of the gap.
// Anything else that leaves a request without its answer is a failure, and is never asked again.

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	h2Client        clientKind = "h2"
	grpcClient      clientKind = "grpc"
	grpcStream      clientKind = "grpc_stream"
	websocketClient clientKind = "websocket"
)

// errNotTaken: the server parts in order and has not taken this request.
var errNotTaken = errors.New("the server parts in order and did not take this request")

// parting is what a connection came to while nothing was in flight on it.
type parting int

const (
	stillHeld parting = iota
	partedInOrder
	partedWithoutWord
)

type held interface {
	// ask sends one request and waits for its answer.
	ask(deadline time.Time) (answer, error)
	parted() parting
	close()
	peer() string
}

// attendant hears of the connections that a client opens and loses.
type attendant interface {
	connected()
	disconnected()
}

type dialHeld func(address string, deadline time.Time, watched attendant, settings settings) (held, error)

var heldDials = map[clientKind]dialHeld{
	h2Client: dialH2, grpcClient: dialGrpc, grpcStream: dialGrpcStream, websocketClient: dialWebsocket,
}

type holder struct {
	number   int
	kind     clientKind
	settings settings
	resolver *resolver
	tally    *tally
	budget   *budget
	random   *rand.Rand
	record   *record
	dial     dialHeld
	held     held
	openedAt time.Time
	asked    int
	lastGood time.Time
}

func (h *holder) run(ctx context.Context) {
	defer h.disconnect()
	h.lastGood = time.Now()
	interval := h.settings.turnInterval(h.kind)
	turn := time.Now().Add(time.Duration(h.random.Float64() * float64(interval)))
	for h.think(ctx, turn) && h.budget.take() {
		started := time.Now()
		h.ask(started)
		turn = started.Add(h.settings.thought(h.random, interval))
	}
	now := time.Now()
	h.tally.gap(h.number, now.Sub(h.lastGood), now)
	h.record.gap(h.lastGood, now)
}

// think waits for the client's turn and leaves a connection that the server has ended meanwhile; false: the run is over.
func (h *holder) think(ctx context.Context, turn time.Time) bool {
	for ctx.Err() == nil {
		now := time.Now()
		waitUntil(ctx, now.Add(min(turn.Sub(now), thinkSlice)))
		h.leaveIfParted()
		if !time.Now().Before(turn) {
			return ctx.Err() == nil
		}
	}
	return false
}

func (h *holder) leaveIfParted() {
	if h.held == nil {
		return
	}
	switch h.held.parted() {
	case stillHeld:
		return
	case partedInOrder:
		h.told()
	case partedWithoutWord:
		h.tally.idleEnded(idleClosed)
	}
	h.disconnect()
}

func (h *holder) ask(started time.Time) {
	// Longer than -timeout, to tell a late answer from none; both are failures.
	deadline := started.Add(h.settings.timeout + h.settings.timeout/2)
	got, err := h.exchange(deadline)
	for errors.Is(err, errNotTaken) && time.Now().Before(deadline) {
		h.tally.askedAgain()
		h.record.askedAgain()
		h.told()
		h.disconnect()
		got, err = h.exchange(deadline)
	}
	if err != nil {
		h.failed(err, started)
		return
	}
	h.judge(got, started)
}

func (h *holder) exchange(deadline time.Time) (answer, error) {
	if h.held == nil {
		address := h.resolver.at(h.settings.portOf(h.kind))
		opened, err := h.dial(address, deadline, h, h.settings)
		if err != nil {
			return answer{}, err
		}
		h.held, h.openedAt, h.asked = opened, time.Now(), 0
	}
	h.asked++
	return h.held.ask(deadline)
}

func (h *holder) judge(got answer, started time.Time) {
	now := time.Now()
	kind := statusFailure(got.status, h.settings.expectStatus)
	if kind == "" && now.Sub(started) > h.settings.timeout {
		kind = failedLate
	}
	version := h.settings.versionOf(got)
	h.tally.answered(exchanged{h.kind, version, now, now.Sub(started), kind})
	if kind != "" {
		h.record.failed()
		h.sample(kind, errors.New(snippet(got)), now, version, got.status)
		return
	}
	h.tally.gap(h.number, now.Sub(h.lastGood), now)
	h.record.answered(version, h.lastGood, started, now)
	h.lastGood = now
}

func (h *holder) failed(err error, started time.Time) {
	now := time.Now()
	kind := failedProtocol
	var wire *wireError
	switch {
	case errors.As(err, &wire):
		kind = wire.kind
	case errors.Is(err, errNotTaken):
		kind = failedTimeout
	}
	h.tally.answered(exchanged{h.kind, "", now, now.Sub(started), kind})
	h.record.failed()
	h.sample(kind, err, now, "", 0)
	h.disconnect()
}

func (h *holder) sample(kind failureKind, err error, at time.Time, version string, status int) {
	s := failureSample{
		At: stamp(at), Kind: kind, Client: h.kind, ClientNumber: h.number,
		Method: "-", Path: "-", Version: version, Status: status, Error: err.Error(),
	}
	if h.held != nil {
		s.Peer = h.held.peer()
		s.RequestsOnConnection = h.asked
		s.ConnectionAgeMs = at.Sub(h.openedAt).Milliseconds()
	}
	h.tally.sample(s)
}

func (h *holder) told() {
	h.tally.toldToClose()
	h.record.told()
}

func (h *holder) connected() {
	h.tally.connected()
	h.record.connected()
}

func (h *holder) disconnected() { h.tally.disconnected() }

func (h *holder) disconnect() {
	if h.held != nil {
		h.held.close()
		h.held = nil
	}
}

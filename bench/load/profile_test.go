package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// executions answers as the managed control plane does, and can lose the answers of its creates.
type executions struct {
	mu         sync.Mutex
	ids        map[string]bool
	started    map[string]int
	creates    int
	failEvery  int
	badQueries int
}

func (e *executions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("X-Mc-Version", "1.0.0")
	id := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/executions/"), "/start")
	switch {
	case r.Method == "POST" && r.URL.Path == "/executions":
		e.create(w, r.Body)
	case r.Method == "POST" && e.ids[id]:
		e.started[id]++
	case r.Method == "GET" && r.URL.Path == "/executions":
		if r.URL.Query().Get("query") != "FIND executions WHERE deny=false SINCE 30d" {
			e.badQueries++
		}
	case !e.ids[id]:
		w.WriteHeader(404)
	}
}

func (e *executions) create(w http.ResponseWriter, body io.Reader) {
	var asked struct{ ID, Tenant, Owner, Name string }
	if json.NewDecoder(body).Decode(&asked) != nil || len(asked.ID) != 36 || asked.Tenant == "" {
		w.WriteHeader(400)
		return
	}
	e.creates++
	if e.failEvery > 0 && e.creates%e.failEvery == 0 {
		w.WriteHeader(500)
		return
	}
	if e.ids[asked.ID] {
		return // 200: a repeat
	}
	e.ids[asked.ID] = true
	w.WriteHeader(201)
}

func mcRun(t *testing.T, failEvery int) (*executions, summary) {
	t.Helper()
	application := &executions{ids: map[string]bool{}, started: map[string]int{}, failEvery: failEvery}
	server := httptest.NewServer(application)
	t.Cleanup(server.Close)
	report := load(t, server.URL, func(s *settings) {
		s.profile, s.keepAlive, s.oneShot, s.requests, s.rate = "mc", 4, 4, 600, 3000
		s.versionHeader, s.seed = "X-Mc-Version", 7
	})
	return application, report
}

func TestTheMcProfileWritesReadsAndStartsItsOwnExecutions(t *testing.T) {
	application, report := mcRun(t, 0)
	wantFailures(t, report, "", 0)
	if share := float64(report.Creates) / float64(report.Requests); share < 0.30 || share > 0.42 {
		t.Errorf("creates are %.2f of all requests", share)
	}
	if report.Writes.Acknowledged != len(application.ids) || len(application.ids) != int(report.Creates) {
		t.Errorf("%d acknowledged, %d kept, %d asked", report.Writes.Acknowledged, len(application.ids), report.Creates)
	}
	if application.badQueries > 0 {
		t.Errorf("%d list queries did not arrive as written", application.badQueries)
	}
	if len(application.started) == 0 {
		t.Error("nothing was started")
	}
	for id, count := range application.started {
		if count > 1 {
			t.Errorf("%s was started %d times", id, count)
		}
	}
}

func TestAFailedCreateIsNotAcknowledgedAndNotRepeated(t *testing.T) {
	application, report := mcRun(t, 5)
	if report.FailuresByKind[failedServer] == 0 || report.Failures != report.FailuresByKind[failedServer] {
		t.Fatalf("want 5xx only: %v", report.FailuresByKind)
	}
	if application.creates != int(report.Creates) {
		t.Errorf("asked %d creates, the server saw %d", report.Creates, application.creates)
	}
	if report.Writes.Acknowledged != len(application.ids) || report.Writes.Unacknowledged != int(report.Failures) {
		t.Errorf("writes %+v do not fit %d kept and %d failed", report.Writes, len(application.ids), report.Failures)
	}
}

func TestExecutionIDsAreUUIDsVersion4(t *testing.T) {
	for range 100 {
		id := newExecutionID().String()
		if len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Fatalf("%q is no UUID version 4", id)
		}
	}
}

func TestFlagsNameTheirValueAndTheMend(t *testing.T) {
	for arguments, want := range map[string]string{
		"":                                                   `-url "": give a plain http URL`,
		"-url https://a":                                     `-url "https://a": give a plain http URL`,
		"-url http://a -profile x":                           `-profile "x": choose get or mc`,
		"-url http://a -keepalive 0 -oneshot 0":              "at least one client",
		"-url http://a -rate 0":                              "-rate 0: must be above 0",
		"-url http://a -keepalive-rate 351":                  "-keepalive-rate 351: must be between 0 and -rate 350",
		"-url http://a -keepalive-rate 350":                  "leaves a kind of clients without requests",
		"-url http://a -post-share 2":                        "-post-share 2: must be between 0 and 1",
		"-url http://a -tenants 0":                           "-tenants 0",
		"-url http://a -timeout 0s":                          "-timeout 0s: must be above 0",
		"-url http://a -version-header X -version-json v":    "give one of them",
		"-url http://a -version-pattern x":                   "put the version into a group",
		"-url http://a -version-pattern (x) -version-json v": "give one of them",
	} {
		_, err := parseSettings(strings.Fields(arguments), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", arguments, err, want)
		}
	}
}

func TestClientsShareTheRateEquallyOrAsAsked(t *testing.T) {
	for arguments, want := range map[string][2]time.Duration{
		"-rate 350":                                {285714285, 285714285},
		"-rate 350 -keepalive-rate 50":             {time.Second, 166666666},
		"-rate 100 -keepalive-rate 100 -oneshot 0": {500 * time.Millisecond, 0},
	} {
		s, err := parseSettings(append(strings.Fields(arguments), "-url", "http://a"), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]time.Duration{s.turnInterval(keepAlive), s.turnInterval(oneShot)}; got[0] != want[0] || s.oneShot > 0 && got[1] != want[1] {
			t.Errorf("%s: turns of %v, want %v", arguments, got, want)
		}
	}
}

func TestQuantilesAreAtMostFivePercentTooHigh(t *testing.T) {
	var h histogram
	for ms := 1; ms <= 1000; ms++ {
		h.add(time.Duration(ms) * time.Millisecond)
	}
	for q, exact := range map[float64]float64{0.50: 500, 0.95: 950, 0.99: 990, 1: 1000} {
		if got := h.quantile(q); got < exact || got > exact*1.05 {
			t.Errorf("quantile %g: %g, want %g to %g", q, got, exact, exact*1.05)
		}
	}
}

func TestProgressAndSummaryAreLinesOfJSON(t *testing.T) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer application.Close()
	s, err := parseSettings([]string{"-url", application.URL, "-duration", "2500ms", "-rate", "40"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	if _, err := run(t.Context(), s, &output); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	for number, line := range lines {
		var parsed map[string]map[string]any
		if err := json.Unmarshal([]byte(line), &parsed); err != nil {
			t.Fatal(err)
		}
		if key := map[bool]string{true: "summary", false: "progress"}[number == len(lines)-1]; parsed[key]["requests"] == nil {
			t.Errorf("line %d has no %s: %s", number, key, line)
		}
	}
	if len(lines) < 3 {
		t.Errorf("2.5 s are at least two progress lines and a summary, got %d lines", len(lines))
	}
}

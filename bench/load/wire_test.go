package main

// Real loopback servers, each misbehaving in one way: every loss is counted, and nothing is asked twice.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"sync/atomic"
	"testing"
	"time"
)

// rawServer answers connections with the given function, which owns the connection until it returns.
func rawServer(t *testing.T, serve func(conn net.Conn, nth int64)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var connections atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn, connections.Add(1))
			}()
		}
	}()
	return "http://" + listener.Addr().String() + "/"
}

func readRequest(conn net.Conn) bool {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, request.Body)
	return err == nil
}

func reply(conn net.Conn, extra string) {
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nX-Version: 1.0.0\r\nContent-Length: 2\r\n%s\r\nok", extra)
}

func load(t *testing.T, target string, change func(*settings)) summary {
	t.Helper()
	parsed, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	s := settings{
		url: parsed, host: parsed.Host, profile: "get", keepAlive: 1, rate: 200, requests: 4, jitter: 0.5,
		timeout: 5 * time.Second, postShare: 0.35, tenants: 2, expectStatus: 200, versionHeader: "X-Version",
	}
	change(&s)
	report, err := run(t.Context(), s, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantFailures(t *testing.T, report summary, kind failureKind, count int64) {
	t.Helper()
	if report.Failures != count || report.FailuresByKind[kind] != count {
		t.Fatalf("want %d failures, all %q; got %d: %v %+v",
			count, kind, report.Failures, report.FailuresByKind, report.FailureSamples)
	}
}

func TestAnswersOfAGoodServerAreNoFailures(t *testing.T) {
	var seen atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		w.Header().Set("X-Version", "1.0.0")
		fmt.Fprint(w, "ok")
	}))
	defer server.Close()

	report := load(t, server.URL, func(s *settings) { s.keepAlive, s.oneShot, s.requests = 2, 2, 40 })

	wantFailures(t, report, "", 0)
	if report.Requests != 40 || seen.Load() != 40 {
		t.Fatalf("asked 40, reported %d, server saw %d", report.Requests, seen.Load())
	}
	version := report.Versions["1.0.0"]
	if version.KeepAlive.Answers+version.OneShot.Answers != 40 || version.KeepAlive.First > version.KeepAlive.Last {
		t.Fatalf("answers by client kind are wrong: %+v", version)
	}
	if want := 2 + version.OneShot.Answers; report.Connections.Opened != want {
		t.Fatalf("2 kept connections and one per one-shot request are %d, opened %d", want, report.Connections.Opened)
	}
}

func TestStatusesThatWereNotAskedFor(t *testing.T) {
	for status, kind := range map[int]failureKind{
		500: failedServer, 503: failedServer, 404: failedUnexpected, 204: failedUnexpected, 302: failedUnexpected,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Version", "1.2.0")
				w.WriteHeader(status)
			}))
			defer server.Close()
			report := load(t, server.URL, func(*settings) {})
			wantFailures(t, report, kind, 4)
			if report.Versions["1.2.0"].Failures != 4 || report.Connections.Opened != 1 {
				t.Fatalf("failures belong to the version that answered, on one connection: %+v", report)
			}
		})
	}
}

func TestLostAnswersAreCountedAndNeverAskedAgain(t *testing.T) {
	var requests atomic.Int64
	target := rawServer(t, func(conn net.Conn, _ int64) {
		if readRequest(conn) {
			requests.Add(1)
		}
	})
	report := load(t, target, func(*settings) {})
	wantFailures(t, report, failedLost, 4)
	if requests.Load() != 4 {
		t.Fatalf("4 requests reached the wire as %d", requests.Load())
	}
}

func TestAnAnswerCutShortIsLost(t *testing.T) {
	target := rawServer(t, func(conn net.Conn, _ int64) {
		readRequest(conn)
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	})
	wantFailures(t, load(t, target, func(*settings) {}), failedLost, 4)
}

func TestResetUnderARequest(t *testing.T) {
	target := rawServer(t, func(conn net.Conn, _ int64) {
		readRequest(conn)
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
	})
	wantFailures(t, load(t, target, func(*settings) {}), failedReset, 4)
}

func TestLateAndMissingAnswers(t *testing.T) {
	hold := func(answerAfter time.Duration) string {
		return rawServer(t, func(conn net.Conn, _ int64) {
			for readRequest(conn) {
				waitUntil(t.Context(), time.Now().Add(answerAfter))
				reply(conn, "")
			}
		})
	}
	of := func(timeout time.Duration) func(*settings) {
		return func(s *settings) { s.timeout, s.requests, s.keepAlive = timeout, 2, 2 }
	}
	// An answer is late until half of the timeout more: wide enough here for a machine with much else to do.
	wantFailures(t, load(t, hold(2100*time.Millisecond), of(2*time.Second)), failedLate, 2)
	wantFailures(t, load(t, hold(time.Minute), of(200*time.Millisecond)), failedTimeout, 2)
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	wantFailures(t, load(t, "http://"+listener.Addr().String(), func(*settings) {}), failedDial, 4)
}

func TestGarbageIsAProtocolFailure(t *testing.T) {
	target := rawServer(t, func(conn net.Conn, _ int64) {
		readRequest(conn)
		fmt.Fprint(conn, "SSH-2.0-OpenSSH\r\n\r\n")
	})
	wantFailures(t, load(t, target, func(*settings) {}), failedProtocol, 4)
}

func TestAKeepAliveClientThatIsToldToCloseReconnectsWithoutFailure(t *testing.T) {
	target := rawServer(t, func(conn net.Conn, _ int64) {
		readRequest(conn)
		reply(conn, "Connection: close\r\n")
	})
	report := load(t, target, func(*settings) {})
	wantFailures(t, report, "", 0)
	if report.Connections.Opened != 4 || report.Connections.ToldToClose != 4 {
		t.Fatalf("want 4 connections, all told to close: %+v", report.Connections)
	}
}

func TestAnIdleConnectionClosedByTheServerIsCountedApart(t *testing.T) {
	for name, linger := range map[string]bool{"closed": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			target := rawServer(t, func(conn net.Conn, _ int64) {
				readRequest(conn)
				reply(conn, "")
				waitUntil(t.Context(), time.Now().Add(10*time.Millisecond)) // the answer is read, the client thinks
				if linger {
					if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
						t.Error(err)
					}
				}
			})
			report := load(t, target, func(s *settings) { s.rate, s.requests = 5, 3 })
			wantFailures(t, report, "", 0)
			ended := map[bool]int64{false: report.Connections.IdleClosed, true: report.Connections.IdleReset}
			if ended[linger] < 2 || ended[!linger] != 0 || report.Connections.Opened != 3 {
				t.Fatalf("want 3 connections, at least 2 ended while idle: %+v", report.Connections)
			}
		})
	}
}

func TestChunkedAnswersAndVersionInJSON(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"commit": "abc", `)
		w.(http.Flusher).Flush()
		fmt.Fprint(w, `"version": "6.9.0"}`)
	}))
	defer server.Close()
	report := load(t, server.URL, func(s *settings) { s.versionHeader, s.versionJSON = "", "version" })
	wantFailures(t, report, "", 0)
	if report.Versions["6.9.0"].Answers != 4 {
		t.Fatalf("version not read: %+v", report.Versions)
	}
}

func TestAnAnswerThatCameThroughSeveralVersionsTellsThemAll(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Version", "1.1.0")
		fmt.Fprint(w, `["{\n \"X-Api-Version\": [\n \"1.0.0\"\n ]}"]`)
	}))
	defer server.Close()

	report := load(t, server.URL, func(s *settings) {
		s.versionPattern = regexp.MustCompile(`X-Api-Version\\": \[\\n *\\"([0-9.]+)`)
	})

	wantFailures(t, report, "", 0)
	if _, told := report.Versions["1.1.0+1.0.0"]; !told || len(report.Versions) != 1 {
		t.Fatalf("versions are wrong: %+v", report.Versions)
	}
}

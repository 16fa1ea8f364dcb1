package main

// The flags, checked: a message names the flag, its value and what would be right.

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// heldClients are clients of one kind that hold their connection, and the port where the application expects them.
type heldClients struct {
	count int
	port  int
}

// heldKinds in the order in which their clients are numbered.
var heldKinds = []clientKind{h2Client, grpcClient, grpcStream, websocketClient}

type settings struct {
	url           *url.URL
	host          string
	profile       string
	keepAlive     int
	oneShot       int
	rate          float64
	keepAliveRate float64
	jitter        float64
	duration      time.Duration
	requests      int64
	timeout       time.Duration
	postShare     float64
	tenants       int
	expectStatus  int
	versionHeader string
	versionJSON   string
	// versionPattern's matches tell the versions that one answer came through, the first group of each.
	versionPattern *regexp.Regexp
	verifyDSN      string
	verifyTable    string
	seed           uint64
	eachClient     bool
	held           map[clientKind]*heldClients
}

func parseSettings(arguments []string, output io.Writer) (settings, error) {
	var s settings
	var target string
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&target, "url", "", "http://host[:port]/path of the Service under load; for -profile mc the base of the API")
	flags.StringVar(&s.host, "host", "", "Host header, when it is not the host of -url")
	flags.StringVar(&s.profile, "profile", "get", "get: one path over and over; mc: creates, starts, reads and lists of executions")
	flags.IntVar(&s.keepAlive, "keepalive", 50, "clients that keep their connection")
	flags.IntVar(&s.oneShot, "oneshot", 50, "clients that open a connection per request")
	flags.Float64Var(&s.rate, "rate", 350, "requests per second of all clients together")
	flags.Float64Var(&s.keepAliveRate, "keepalive-rate", 0, "of -rate, the requests per second of the keep-alive clients (0: all clients ask equally often)")
	flags.Float64Var(&s.jitter, "jitter", 0.5, "how far a client's time from request to request is from its mean, as a share of it")
	flags.DurationVar(&s.duration, "duration", 0, "end after this time (0: at SIGTERM)")
	flags.Int64Var(&s.requests, "requests", 0, "end after this many requests (0: no bound)")
	flags.DurationVar(&s.timeout, "timeout", 10*time.Second, "an answer later than this is a failure")
	flags.Float64Var(&s.postShare, "post-share", 0.35, "share of creates in -profile mc")
	flags.IntVar(&s.tenants, "tenants", 4, "tenants that the clients of -profile mc belong to")
	flags.IntVar(&s.expectStatus, "expect-status", 200, "the right status in -profile get")
	flags.StringVar(&s.versionHeader, "version-header", "", "answer header that tells the version")
	flags.StringVar(&s.versionJSON, "version-json", "", "field of the JSON answer that tells the version")
	flags.Func("version-pattern", "regular expression: the first group of each match in the answer is a version; after that of -version-header, joined by +", func(text string) (err error) {
		if s.versionPattern, err = regexp.Compile(text); err == nil && s.versionPattern.NumSubexp() < 1 {
			err = errors.New("put the version into a group, as in version=([0-9.]+)")
		}
		return err
	})
	flags.StringVar(&s.verifyDSN, "verify-dsn", os.Getenv("VERIFY_DSN"), "after the run, look for every acknowledged id in this PostgreSQL (default: environment VERIFY_DSN)")
	flags.StringVar(&s.verifyTable, "verify-table", "executions", "table with the column id for -verify-dsn")
	flags.Uint64Var(&s.seed, "seed", 0, "seed of think times and choices (0: a new one each run)")
	flags.BoolVar(&s.eachClient, "each-client", false, "report what every client that keeps its connection lived through")
	s.held = map[clientKind]*heldClients{}
	for _, kind := range heldKinds {
		s.held[kind] = &heldClients{}
		name := strings.ReplaceAll(string(kind), "_", "-")
		flags.IntVar(&s.held[kind].count, name, 0, "clients that hold one connection of this kind; they ask in -profile get")
		flags.IntVar(&s.held[kind].port, name+"-port", 0, "port for them (0: that of -url)")
	}
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	parsed, err := url.Parse(target)
	if err != nil || parsed.Scheme != "http" || parsed.Hostname() == "" {
		return s, fmt.Errorf("-url %q: give a plain http URL such as http://mc-api.prod.svc.cluster.local", target)
	}
	s.url = parsed
	if s.host == "" {
		s.host = parsed.Host
	}
	return s, s.check()
}

func (s settings) check() error {
	switch {
	case !slices.Contains([]string{"get", "mc"}, s.profile):
		return fmt.Errorf("-profile %q: choose get or mc", s.profile)
	case s.keepAlive < 0 || s.oneShot < 0 || s.anyHeldBelowZero():
		return errors.New("a number of clients is below 0; give 0 for none")
	case s.heldCount() > 0 && s.profile != "get":
		return fmt.Errorf("-profile %q: clients of h2, grpc, grpc-stream and websocket ask in -profile get only", s.profile)
	case s.heldCount() > 0 && s.keepAliveRate > 0:
		return fmt.Errorf("-keepalive-rate %g: leave it out beside h2, grpc, grpc-stream and websocket; all clients ask equally often", s.keepAliveRate)
	case s.heldCount() > s.held[h2Client].count && s.versionHeader != "":
		return fmt.Errorf("-version-header %q: gRPC and WebSocket answer without headers; give -version-json", s.versionHeader)
	case s.clients() == 0:
		return fmt.Errorf("-keepalive %d -oneshot %d: at least one client is needed", s.keepAlive, s.oneShot)
	case s.rate <= 0:
		return fmt.Errorf("-rate %g: must be above 0", s.rate)
	case s.keepAliveRate < 0 || s.keepAliveRate > s.rate:
		return fmt.Errorf("-keepalive-rate %g: must be between 0 and -rate %g", s.keepAliveRate, s.rate)
	case s.keepAliveRate > 0 && (s.keepAlive == 0 || s.oneShot > 0 && s.keepAliveRate == s.rate):
		return fmt.Errorf("-keepalive-rate %g: leaves a kind of clients without requests; change it or the clients", s.keepAliveRate)
	case s.jitter < 0 || s.jitter > 1:
		return fmt.Errorf("-jitter %g: must be from 0 to 1", s.jitter)
	case s.timeout <= 0:
		return fmt.Errorf("-timeout %s: must be above 0", s.timeout)
	case s.postShare < 0 || s.postShare > 1:
		return fmt.Errorf("-post-share %g: must be between 0 and 1", s.postShare)
	case s.tenants < 1:
		return fmt.Errorf("-tenants %d: must be at least 1", s.tenants)
	case s.versionPattern != nil && s.versionJSON != "":
		return fmt.Errorf("-version-pattern %q and -version-json %q: give one of them", s.versionPattern, s.versionJSON)
	case s.versionHeader != "" && s.versionJSON != "":
		return fmt.Errorf("-version-header %q and -version-json %q: give one of them", s.versionHeader, s.versionJSON)
	}
	return nil
}

func (s settings) clients() int { return s.keepAlive + s.oneShot + s.heldCount() }

func (s settings) heldCount() int {
	count := 0
	for _, clients := range s.held {
		count += clients.count
	}
	return count
}

func (s settings) anyHeldBelowZero() bool {
	for _, clients := range s.held {
		if clients.count < 0 {
			return true
		}
	}
	return false
}

func (s settings) portOf(kind clientKind) string {
	if clients := s.held[kind]; clients != nil && clients.port > 0 {
		return strconv.Itoa(clients.port)
	}
	return s.port()
}

// kinds tells of which kind each client is, by its number.
func (s settings) kinds() []clientKind {
	kinds := append(slices.Repeat([]clientKind{keepAlive}, s.keepAlive), slices.Repeat([]clientKind{oneShot}, s.oneShot)...)
	for _, kind := range heldKinds {
		if clients := s.held[kind]; clients != nil {
			kinds = append(kinds, slices.Repeat([]clientKind{kind}, clients.count)...)
		}
	}
	return kinds
}

// turnInterval is a client's mean time from the start of a request to the start of the next.
func (s settings) turnInterval(kind clientKind) time.Duration {
	clients, rate := s.clients(), s.rate
	if s.keepAliveRate > 0 {
		clients, rate = s.keepAlive, s.keepAliveRate
		if kind == oneShot {
			clients, rate = s.oneShot, s.rate-s.keepAliveRate
		}
	}
	if clients == 0 {
		return 0
	}
	return time.Duration(float64(clients) / rate * float64(time.Second))
}

// thought is the time from the start of one request to the start of the next, evenly spread around the mean.
func (s settings) thought(random *rand.Rand, interval time.Duration) time.Duration {
	return time.Duration((1 + s.jitter*(2*random.Float64()-1)) * float64(interval))
}

func (s settings) port() string {
	if port := s.url.Port(); port != "" {
		return port
	}
	return "80"
}

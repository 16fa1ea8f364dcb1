package main

// The report's shape: one {"progress": ...} line per second and one {"summary": ...} line at the end.

import "time"

type progressLine struct {
	Progress progress `json:"progress"`
}

type progress struct {
	At              string         `json:"at"`
	ElapsedSeconds  float64        `json:"elapsed_s"`
	Requests        int64          `json:"requests"`
	Failures        int64          `json:"failures"`
	Connections     int64          `json:"connections"`
	SecondRequests  int64          `json:"second_requests"`
	SecondFailures  int64          `json:"second_failures"`
	SecondP95Ms     float64        `json:"second_p95_ms"`
	SecondVersions  map[string]int `json:"second_versions"`
	LastFailureKind failureKind    `json:"last_failure_kind,omitempty"`
}

type summaryLine struct {
	Summary summary `json:"summary"`
}

type summary struct {
	Loop             string                    `json:"loop"`
	Profile          string                    `json:"profile"`
	URL              string                    `json:"url"`
	KeepAliveClients int                       `json:"keepalive_clients"`
	OneShotClients   int                       `json:"oneshot_clients"`
	Rate             float64                   `json:"rate"`
	KeepAliveTurnMs  int64                     `json:"keepalive_turn_ms"` // mean, from one request's start to the next
	OneShotTurnMs    int64                     `json:"oneshot_turn_ms"`
	TimeoutMs        int64                     `json:"timeout_ms"`
	StartedAt        string                    `json:"started_at"`
	EndedAt          string                    `json:"ended_at"`
	DurationSeconds  float64                   `json:"duration_s"`
	Requests         int64                     `json:"requests"`
	Failures         int64                     `json:"failures"`
	FailuresByKind   map[failureKind]int64     `json:"failures_by_kind"`
	Creates          int64                     `json:"creates"`
	Connections      connectionSummary         `json:"connections"`
	Versions         map[string]versionSummary `json:"versions"`
	Latency          latencySummary            `json:"latency"`
	LongestGap       gapSummary                `json:"longest_gap"`
	Writes           writeSummary              `json:"writes"`
	Seconds          [][]any                   `json:"seconds"` // [second, requests, failures, {version: answers}]
	FailureSamples   []failureSample           `json:"failure_samples"`
	ResolverErrors   int64                     `json:"resolver_errors"`
	Clients          []clientSummary           `json:"clients,omitempty"` // with -each-client
}

type connectionSummary struct {
	Opened      int64 `json:"opened"`
	ToldToClose int64 `json:"told_to_close"` // clients sent away in order: Connection: close, GOAWAY, a stream's or socket's end
	AskedAgain  int64 `json:"asked_again"`   // refused unprocessed, or crossed such a word: no failure, see held.go
	IdleClosed  int64 `json:"idle_closed"`   // closed by the server with no request in flight: no failure
	IdleReset   int64 `json:"idle_reset"`    // the same, by a reset
}

type versionSummary struct {
	Answers    int64          `json:"answers"`
	Failures   int64          `json:"failures"`
	KeepAlive  *answersOfKind `json:"keepalive,omitempty"`
	OneShot    *answersOfKind `json:"oneshot,omitempty"`
	H2         *answersOfKind `json:"h2,omitempty"`
	Grpc       *answersOfKind `json:"grpc,omitempty"`
	GrpcStream *answersOfKind `json:"grpc_stream,omitempty"`
	Websocket  *answersOfKind `json:"websocket,omitempty"`
	Latency    latencySummary `json:"latency"`
}

type answersOfKind struct {
	Answers int64  `json:"answers"`
	First   string `json:"first"`
	Last    string `json:"last"`
	Begun   string `json:"begun"` // when the latest of the requests that were answered so was begun
}

type latencySummary struct {
	P50     float64      `json:"p50_ms"`
	P95     float64      `json:"p95_ms"`
	P99     float64      `json:"p99_ms"`
	Max     float64      `json:"max_ms"`
	Buckets [][2]float64 `json:"buckets"` // [upper edge in ms, answers]
}

// gapSummary is the longest time that any one client had to live without a good answer.
type gapSummary struct {
	Ms     int64  `json:"ms"`
	Client int    `json:"client"`
	Until  string `json:"until"`
}

// writeSummary compares the creates with the database. An unacknowledged create may be there or not.
type writeSummary struct {
	Acknowledged          int      `json:"acknowledged"`
	Verified              bool     `json:"verified"`
	Missing               int      `json:"missing"`
	Duplicates            int      `json:"duplicates"`
	MissingSample         []string `json:"missing_sample,omitempty"`
	Unacknowledged        int      `json:"unacknowledged"`
	UnacknowledgedPresent int      `json:"unacknowledged_present"`
	Error                 string   `json:"error,omitempty"`
}

type failureSample struct {
	At                   string      `json:"at"`
	Kind                 failureKind `json:"kind"`
	Client               clientKind  `json:"client"`
	ClientNumber         int         `json:"client_number"`
	Method               string      `json:"method"`
	Path                 string      `json:"path"`
	Version              string      `json:"version,omitempty"`
	Status               int         `json:"status,omitempty"`
	Error                string      `json:"error"`
	Peer                 string      `json:"peer,omitempty"`
	RequestsOnConnection int         `json:"requests_on_connection,omitempty"`
	ConnectionAgeMs      int64       `json:"connection_age_ms,omitempty"`
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

package main

// What the users ask for: the calls of each profile, as bytes ready for the wire.

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"strings"
)

// call is one request, the status that answers it, and for a create the id that the answer acknowledges.
type call struct {
	method   string
	path     string
	bytes    []byte
	expected int
	creates  *executionID
}

type executionID [16]byte

// newExecutionID never follows -seed: an id must be new in every run.
func newExecutionID() executionID {
	var id executionID
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (id executionID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

// script decides what one client asks next and learns from what was acknowledged.
type script interface {
	next() *call
	acknowledged(*call)
}

// getScript asks for one path over and over.
type getScript struct{ only *call }

func newGetScript(target *url.URL, host string, oneShot bool, expected int) *getScript {
	path := target.RequestURI()
	return &getScript{&call{"GET", path, request("GET", path, host, oneShot, ""), expected, nil}}
}

func (s *getScript) next() *call        { return s.only }
func (s *getScript) acknowledged(*call) {}

// Shares of the mc profile besides its creates, of the calls that are left.
const (
	startShare      = 0.15
	listShare       = 0.25
	rememberedCount = 16
)

// mcScript creates executions, starts each of its own once, and reads them back.
type mcScript struct {
	base      string
	host      string
	tenant    string
	owner     string
	oneShot   bool
	postShare float64
	random    *mathrand.Rand
	mine      []executionID // the last ones acknowledged to this client, oldest first
	unstarted []executionID
	listCall  *call
}

func newMcScript(target *url.URL, host string, oneShot bool, settings settings, client int, random *mathrand.Rand) *mcScript {
	tenant := fmt.Sprintf("tenant-%02d", client%settings.tenants)
	script := &mcScript{
		base:      strings.TrimSuffix(target.Path, "/"),
		host:      host,
		tenant:    tenant,
		owner:     fmt.Sprintf("User %03d <user-%03d@example.com>", client, client),
		oneShot:   oneShot,
		postShare: settings.postShare,
		random:    random,
	}
	query := url.PathEscape("FIND executions WHERE deny=false SINCE 30d")
	script.listCall = script.call("GET", fmt.Sprintf("/executions?query=%s&tenant=%s&limit=20", query, tenant), "", 200)
	return script
}

func (s *mcScript) next() *call {
	if s.random.Float64() < s.postShare {
		return s.create()
	}
	draw := s.random.Float64()
	switch {
	case draw < startShare && len(s.unstarted) > 0:
		id := s.unstarted[0]
		s.unstarted = s.unstarted[1:]
		return s.call("POST", "/executions/"+id.String()+"/start", "", 200)
	case draw < startShare+listShare || len(s.mine) == 0:
		return s.listCall
	default:
		return s.call("GET", "/executions/"+s.mine[s.random.IntN(len(s.mine))].String(), "", 200)
	}
}

func (s *mcScript) acknowledged(done *call) {
	if done.creates == nil {
		return
	}
	s.mine = append(s.mine, *done.creates)
	if len(s.mine) > rememberedCount {
		s.mine = s.mine[1:]
	}
	s.unstarted = append(s.unstarted, *done.creates)
	if len(s.unstarted) > rememberedCount {
		s.unstarted = s.unstarted[1:]
	}
}

func (s *mcScript) create() *call {
	id := newExecutionID()
	body, err := json.Marshal(map[string]string{
		"id": id.String(), "tenant": s.tenant, "owner": s.owner, "name": "load " + id.String()[:8],
	})
	if err != nil {
		panic(err) // four strings always marshal
	}
	created := s.call("POST", "/executions", string(body), 201)
	created.creates = &id
	return created
}

func (s *mcScript) call(method, path, body string, expected int) *call {
	path = s.base + path
	return &call{method, path, request(method, path, s.host, s.oneShot, body), expected, nil}
}

func request(method, path, host string, oneShot bool, body string) []byte {
	var b strings.Builder
	b.Grow(192 + len(path) + len(body))
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: conductor-load\r\nAccept: application/json\r\n", method, path, host)
	if oneShot {
		b.WriteString("Connection: close\r\n")
	}
	if method != "GET" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.WriteString(body)
	return []byte(b.String())
}

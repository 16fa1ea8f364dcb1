package main

// One connection and one exchange on it: bytes out, one answer in, nothing repeated.

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	maxBodyBytes    = 1 << 20
	readBufferBytes = 2048
)

type answer struct {
	status int
	header http.Header
	body   []byte
	closes bool
}

type connection struct {
	net.Conn
	raw      syscall.RawConn
	reader   *bufio.Reader
	openedAt time.Time
	requests int
}

func dial(address string, deadline time.Time) (*connection, error) {
	dialer := net.Dialer{Deadline: deadline, KeepAlive: -1}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, dialFailure(err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, dialFailure(err)
	}
	reader := bufio.NewReaderSize(conn, readBufferBytes)
	return &connection{Conn: conn, raw: raw, reader: reader, openedAt: time.Now()}, nil
}

// exchange sends one request and reads its answer to the last byte.
func (c *connection) exchange(call *call, deadline time.Time) (answer, error) {
	c.requests++
	if err := c.SetDeadline(deadline); err != nil {
		return answer{}, exchangeFailure(err)
	}
	if _, err := c.Write(call.bytes); err != nil {
		return answer{}, exchangeFailure(err)
	}
	response, err := c.finalResponse(call.method)
	if err != nil {
		return answer{}, exchangeFailure(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes+1))
	if err != nil {
		return answer{}, exchangeFailure(err)
	}
	if len(body) > maxBodyBytes {
		return answer{}, &wireError{failedProtocol, errors.New("answer is larger than 1 MiB")}
	}
	return answer{response.StatusCode, response.Header, body, response.Close}, nil
}

// finalResponse passes over interim 1xx answers.
func (c *connection) finalResponse(method string) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
		if err != nil || response.StatusCode >= 200 {
			return response, err
		}
	}
}

type idleEnd int

const (
	idleStillOpen idleEnd = iota
	idleClosed
	idleReset
	idleUnasked // bytes without a request
)

// watchIdle waits until the given time while no request is in flight and tells at once when the server
// ends the connection meanwhile, as a browser or a connection pool would notice it.
func (c *connection) watchIdle(until time.Time) idleEnd {
	if err := c.SetReadDeadline(until); err != nil {
		return idleClosed
	}
	_, err := c.reader.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.peekNow()
	}
	return idleEndOf(err)
}

// peekNow looks for an end that arrived after the wait but before the next request is sent. Between
// this look and the request lie microseconds; what the server closes later than that is a failure.
func (c *connection) peekNow() idleEnd {
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return idleClosed
	}
	var one [1]byte
	var count int
	var peekErr error
	err := c.raw.Read(func(descriptor uintptr) bool {
		count, _, peekErr = syscall.Recvfrom(int(descriptor), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	switch {
	case err != nil:
		return idleClosed
	case errors.Is(peekErr, syscall.EAGAIN):
		return idleStillOpen
	case peekErr == nil && count == 0:
		return idleClosed
	default:
		return idleEndOf(peekErr)
	}
}

func idleEndOf(err error) idleEnd {
	switch {
	case err == nil:
		return idleUnasked
	case isReset(err):
		return idleReset
	default:
		return idleClosed
	}
}

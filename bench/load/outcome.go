package main

// What an exchange can come to, and how an error on the wire becomes one of the kinds of failure.

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

type failureKind string

const (
	failedDial       failureKind = "dial"              // refused or unreachable
	failedDialLate   failureKind = "dial_timeout"      // no connection in time
	failedReset      failureKind = "reset"             // the peer reset the connection under a request
	failedLost       failureKind = "lost"              // closed before the whole answer had come
	failedTimeout    failureKind = "timeout"           // no answer at all
	failedLate       failureKind = "late"              // an answer, but after -timeout
	failedServer     failureKind = "status_5xx"        //
	failedUnexpected failureKind = "status_unexpected" // any other status that was not asked for
	failedProtocol   failureKind = "protocol"          // not HTTP, or bytes that nobody asked for
)

// wireError is a failed exchange with the kind that the report counts it under.
type wireError struct {
	kind  failureKind
	cause error
}

func (e *wireError) Error() string { return fmt.Sprintf("%s: %v", e.kind, e.cause) }
func (e *wireError) Unwrap() error { return e.cause }

func dialFailure(err error) *wireError {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &wireError{failedDialLate, err}
	}
	return &wireError{failedDial, err}
}

func exchangeFailure(err error) *wireError {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &wireError{failedTimeout, err}
	case isReset(err):
		return &wireError{failedReset, err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return &wireError{failedLost, err}
	default:
		return &wireError{failedProtocol, err}
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// statusFailure judges an answer that did arrive: "" means it is the one that was asked for.
func statusFailure(status, expected int) failureKind {
	switch {
	case status == expected:
		return ""
	case status >= 500:
		return failedServer
	default:
		return failedUnexpected
	}
}

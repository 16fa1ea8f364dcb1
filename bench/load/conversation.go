package main

// A connection on which client and server talk in messages, one answer to each: a gRPC stream, a WebSocket.

import (
	"os"
	"time"
)

type heard struct {
	answer answer
	err    error
}

// conversation reads at all times, so that the server's farewell is heard between two requests as well.
type conversation struct {
	say     func() error
	hear    func() (answer, error) // blocks until the next message or the end
	inOrder func(error) bool
	end     func()
	address string
	heard   chan heard
	over    *heard
}

// begin starts to listen; `hear` has to return once `end` was called.
func (c *conversation) begin() {
	c.heard = make(chan heard, 1)
	go func() {
		for {
			got, err := c.hear()
			c.heard <- heard{got, err}
			if err != nil {
				return
			}
		}
	}()
}

func (c *conversation) ask(deadline time.Time) (answer, error) {
	if c.over == nil {
		// What broke the sending is known better by the listener.
		_ = c.say()
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		select {
		case next := <-c.heard:
			if next.err == nil {
				return next.answer, nil
			}
			c.over = &next
		case <-timer.C:
			return answer{}, exchangeFailure(os.ErrDeadlineExceeded)
		}
	}
	if c.inOrder(c.over.err) {
		return answer{}, errNotTaken
	}
	return answer{}, failureOf(c.over.err)
}

func (c *conversation) parted() parting {
	if c.over == nil {
		select {
		case next := <-c.heard:
			c.over = &next
		default:
			return stillHeld
		}
	}
	if c.inOrder(c.over.err) {
		return partedInOrder
	}
	return partedWithoutWord
}

func (c *conversation) close() {
	c.end()
	// The listener may hold one more message, and must not be left waiting for somebody who takes it.
	for c.over == nil {
		if next := <-c.heard; next.err != nil {
			c.over = &next
		}
	}
}

func (c *conversation) peer() string { return c.address }

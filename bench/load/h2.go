package main

// A client of HTTP/2 without TLS (prior knowledge), frame by frame: the usual clients ask again in silence what a GOAWAY
// left behind, and would hide which requests that were.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

type h2Connection struct {
	net.Conn
	framer    *http2.Framer
	authority string
	path      string

	writing sync.Mutex // frames of the client and acknowledgements of the reader
	encoded bytes.Buffer
	encoder *hpack.Encoder

	mu      sync.Mutex
	next    uint32
	current *h2Stream
	leaving bool // a GOAWAY without an error has come
	over    error
	done    func()
}

type h2Stream struct {
	id     uint32
	answer answer
	ended  chan error
}

func dialH2(address string, deadline time.Time, watched attendant, settings settings) (held, error) {
	dialer := net.Dialer{Deadline: deadline, KeepAlive: -1}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, dialFailure(err)
	}
	c := &h2Connection{
		Conn: conn, framer: http2.NewFramer(conn, conn), authority: settings.host, path: settings.url.RequestURI(),
		next: 1, done: sync.OnceFunc(watched.disconnected),
	}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.encoded)
	watched.connected()
	err = c.write(func() error {
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			return err
		}
		return c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	})
	if err != nil {
		c.close()
		return nil, exchangeFailure(err)
	}
	go c.read()
	return c, nil
}

func (c *h2Connection) write(frames func() error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return frames()
}

func (c *h2Connection) ask(deadline time.Time) (answer, error) {
	stream, err := c.open()
	if err != nil {
		return answer{}, err
	}
	if err := c.SetWriteDeadline(deadline); err != nil {
		return answer{}, exchangeFailure(err)
	}
	// What broke the sending is known better by the reader.
	_ = c.write(func() error {
		c.encoded.Reset()
		for _, field := range []hpack.HeaderField{
			{Name: ":method", Value: "GET"},
			{Name: ":scheme", Value: "http"},
			{Name: ":authority", Value: c.authority},
			{Name: ":path", Value: c.path},
			{Name: "accept", Value: "application/json"},
			{Name: "user-agent", Value: "conductor-load"},
		} {
			if err := c.encoder.WriteField(field); err != nil {
				return err
			}
		}
		return c.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream.id, BlockFragment: c.encoded.Bytes(), EndStream: true, EndHeaders: true,
		})
	})
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case err := <-stream.ended:
		return stream.answer, err
	case <-timer.C:
		return answer{}, exchangeFailure(os.ErrDeadlineExceeded)
	}
}

func (c *h2Connection) open() (*h2Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.leaving:
		return nil, errNotTaken
	case c.over != nil:
		return nil, exchangeFailure(c.over)
	}
	c.current = &h2Stream{id: c.next, ended: make(chan error, 1)}
	c.current.answer.header = http.Header{}
	c.next += 2
	return c.current, nil
}

// read takes frames until the connection ends.
func (c *h2Connection) read() {
	for {
		frame, err := c.framer.ReadFrame()
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			c.mu.Lock()
			c.over = err
			c.finish(exchangeFailure(err))
			c.mu.Unlock()
			return
		}
	}
}

func (c *h2Connection) take(frame http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			return c.write(c.framer.WriteSettingsAck)
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			return c.write(func() error { return c.framer.WritePing(true, frame.Data) })
		}
	case *http2.GoAwayFrame:
		if frame.ErrCode != http2.ErrCodeNo {
			return fmt.Errorf("GOAWAY with %s", frame.ErrCode)
		}
		c.leaving = true
		if c.current != nil && c.current.id > frame.LastStreamID {
			c.finish(errNotTaken)
		}
	case *http2.RSTStreamFrame:
		if c.concerns(frame) {
			c.finish(refusal(frame.ErrCode))
		}
	case *http2.MetaHeadersFrame:
		if c.concerns(frame) {
			return c.takeHeaders(frame)
		}
	case *http2.DataFrame:
		return c.takeData(frame)
	}
	return nil
}

func (c *h2Connection) concerns(frame http2.Frame) bool {
	return c.current != nil && frame.Header().StreamID == c.current.id
}

func refusal(code http2.ErrCode) error {
	if code == http2.ErrCodeRefusedStream {
		return errNotTaken
	}
	return &wireError{failedReset, fmt.Errorf("RST_STREAM with %s", code)}
}

func (c *h2Connection) takeHeaders(frame *http2.MetaHeadersFrame) error {
	if said := frame.PseudoValue("status"); said != "" {
		status, err := strconv.Atoi(said)
		if err != nil {
			return fmt.Errorf(":status %q is no number", said)
		}
		if status < 200 {
			return nil
		}
		c.current.answer.status = status
	}
	for _, field := range frame.RegularFields() {
		c.current.answer.header.Add(field.Name, field.Value)
	}
	if frame.StreamEnded() {
		c.finish(nil)
	}
	return nil
}

func (c *h2Connection) takeData(frame *http2.DataFrame) error {
	if length := frame.Header().Length; length > 0 {
		err := c.write(func() error {
			if err := c.framer.WriteWindowUpdate(0, length); err != nil || frame.StreamEnded() {
				return err
			}
			return c.framer.WriteWindowUpdate(frame.StreamID, length)
		})
		if err != nil {
			return err
		}
	}
	if !c.concerns(frame) {
		return nil
	}
	c.current.answer.body = append(c.current.answer.body, frame.Data()...)
	switch {
	case len(c.current.answer.body) > maxBodyBytes:
		return errors.New("answer is larger than 1 MiB")
	case frame.StreamEnded():
		c.finish(nil)
	}
	return nil
}

// finish ends the request in flight, if one is; the lock is held.
func (c *h2Connection) finish(err error) {
	if c.current != nil {
		c.current.ended <- err
		c.current = nil
	}
}

func (c *h2Connection) parted() parting {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.leaving:
		return partedInOrder
	case c.over != nil:
		return partedWithoutWord
	default:
		return stillHeld
	}
}

func (c *h2Connection) close() {
	_ = c.Close()
	c.done()
}

func (c *h2Connection) peer() string { return c.RemoteAddr().String() }

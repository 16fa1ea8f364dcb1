package main

// Real connections on loopback, and what the kernel says of them.

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const settle = 300 * time.Millisecond

// server answers each line with a line, after `late`; "-" is never answered.
func server(t *testing.T, network string, late time.Duration) (address string, port uint16) {
	t.Helper()
	host := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
	listener, err := net.Listen(network, host)
	if err != nil {
		t.Skipf("%s: %v", network, err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if lines.Text() == "-" {
						continue
					}
					time.Sleep(late)
					io.WriteString(conn, "answer\n")
				}
			}()
		}
	}()
	return listener.Addr().String(), uint16(listener.Addr().(*net.TCPAddr).Port)
}

type user struct {
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, network, address string) *user {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &user{conn, bufio.NewReader(conn)}
}

func (u *user) ask(t *testing.T) {
	t.Helper()
	io.WriteString(u, "question\n")
	if _, err := u.answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func waited(t *testing.T, port uint16, atMost time.Duration) (string, time.Duration) {
	t.Helper()
	began := time.Now()
	said := wait(settings{[]uint16{port}, atMost, settle, untilSilence}, look)
	return said, time.Since(began)
}

func wantSilent(t *testing.T, port uint16) time.Duration {
	t.Helper()
	said, took := waited(t, port, 20*time.Second)
	if !strings.HasPrefix(said, "silent") {
		t.Fatalf("want silence, got %q after %s", said, took)
	}
	return took
}

func wantTimeUp(t *testing.T, port uint16) {
	t.Helper()
	said, took := waited(t, port, 3*settle)
	if !strings.HasPrefix(said, "time is up") || took < 3*settle {
		t.Fatalf("want all of the time to be used, got %q after %s", said, took)
	}
}

func TestAKeptConnectionThatIsSilentHoldsNobodyUp(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			address, port := server(t, network, 0)
			kept, unused := dial(t, network, address), dial(t, network, address)
			kept.ask(t)
			if took := wantSilent(t, port); took < settle {
				t.Errorf("ended after %s, before it could have settled", took)
			}
			kept.ask(t) // both are still open
			unused.ask(t)
		})
	}
}

func TestAConnectionInUseIsWaitedFor(t *testing.T) {
	address, port := server(t, "tcp4", 0)
	busy := dial(t, "tcp4", address)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(settle / 6):
				busy.ask(t)
			}
		}
	}()
	busy.ask(t)
	wantTimeUp(t, port)
	close(stop)
	<-ended
	wantSilent(t, port)
}

func TestAnAnswerThatIsDueIsWaitedForHoweverLongItTakes(t *testing.T) {
	late := 4 * settle
	address, port := server(t, "tcp4", late)
	asked := time.Now()
	waiting := dial(t, "tcp4", address)
	io.WriteString(waiting, "question\n")
	wantSilent(t, port)
	if took := time.Since(asked); took < late {
		t.Fatalf("ended %s after the question, before its answer", took)
	}
	if _, err := waiting.answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNeverAnsweredIsWaitedForToTheEnd(t *testing.T) {
	address, port := server(t, "tcp4", 0)
	waiting := dial(t, "tcp4", address)
	io.WriteString(waiting, "-\n")
	wantTimeUp(t, port)
}

func TestOtherPortsDoNotMatterAndWithoutANameAllThatAreListenedOnDo(t *testing.T) {
	address, busyPort := server(t, "tcp4", 0)
	_, quietPort := server(t, "tcp4", 0)
	io.WriteString(dial(t, "tcp4", address), "-\n")
	wantSilent(t, quietPort)
	seen, err := look()
	if err != nil {
		t.Fatal(err)
	}
	ports := portsOf(nil, seen)
	if !ports[busyPort] || !ports[quietPort] {
		t.Errorf("not among the ports that are listened on: %d, %d of %v", busyPort, quietPort, ports)
	}
}

func TestSettledEndsWhoeverIsConnected(t *testing.T) {
	address, port := server(t, "tcp4", 0)
	io.WriteString(dial(t, "tcp4", address), "-\n")
	began := time.Now()
	said := wait(settings{[]uint16{port}, 20 * time.Second, settle, untilSettled}, look)
	if took := time.Since(began); said != "settled" || took < settle || took > 20*settle {
		t.Errorf("%q after %s, want settled after %s", said, took, settle)
	}
}

func TestWhereTheKernelDoesNotTellAllOfTheTimeIsUsed(t *testing.T) {
	refused := func() ([]connection, error) { return nil, errors.New("operation not permitted") }
	began := time.Now()
	said := wait(settings{nil, 2 * settle, settle, untilSilence}, refused)
	if took := time.Since(began); took < 2*settle || !strings.HasSuffix(said, "operation not permitted") {
		t.Errorf("%q after %s", said, took)
	}
}

func TestTheTimeIsBoundedEvenWhereItIsShorterThanSettling(t *testing.T) {
	began := time.Now()
	wait(settings{nil, settle, time.Hour, untilSettled}, look)
	if took := time.Since(began); took > 20*settle {
		t.Errorf("took %s, was given %s", took, settle)
	}
}

func TestTheCopyRunsAndReplacesAnOlderOne(t *testing.T) {
	built := filepath.Join(t.TempDir(), "drain")
	if said, err := exec.Command("go", "build", "-o", built, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	target := filepath.Join(t.TempDir(), "copy")
	for range 2 {
		if said, err := exec.Command(built, "install", target).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	said, err := exec.Command(target, "wait", "-at-most", "100ms", "-until", "settled").CombinedOutput()
	if err != nil || !strings.Contains(string(said), "settled") {
		t.Errorf("%v: %s", err, said)
	}
	if found, err := os.Stat(target); err != nil || found.Mode().Perm() != 0o555 {
		t.Errorf("%v, mode %v", err, found.Mode())
	}
}

func TestWrongUseNamesTheMend(t *testing.T) {
	for arguments, words := range map[string]string{
		"":                   "drain install PATH",
		"wait -ports 80,x":   `"x" is no port`,
		"wait -ports 0":      `"0" is no port`,
		"wait -until dinner": "choose silence or settled",
	} {
		err := run(strings.Fields(arguments), io.Discard)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %q", arguments, err, words)
		}
	}
}

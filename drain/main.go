package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	untilSilence = "silence"
	untilSettled = "settled"
	lookEvery    = 100 * time.Millisecond
	usage        = "use `drain install PATH`, or `drain wait -at-most 20s`; see `drain wait -help`"
)

type settings struct {
	ports  []uint16
	atMost time.Duration
	settle time.Duration
	until  string
}

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "drain:", err)
		os.Exit(2)
	}
}

func run(arguments []string, output io.Writer) error {
	if len(arguments) == 2 && arguments[0] == "install" {
		return install(arguments[1])
	}
	if len(arguments) == 0 || arguments[0] != "wait" {
		return errors.New(usage)
	}
	settings, err := parse(arguments[1:], output)
	if err != nil {
		return err
	}
	fmt.Fprintln(output, "drain:", wait(settings, look))
	return nil
}

func parse(arguments []string, output io.Writer) (settings, error) {
	var s settings
	var ports string
	flags := flag.NewFlagSet("drain wait", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&ports, "ports", "", "ports to watch, separated by commas (none: all that somebody listens on)")
	flags.DurationVar(&s.atMost, "at-most", 20*time.Second, "end after this time in any case")
	flags.DurationVar(&s.settle, "settle", 3*time.Second, "wait at least this long, and for so long a silence")
	flags.StringVar(&s.until, "until", untilSilence, "silence: of every connection; settled: no longer than -settle")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	for _, text := range strings.FieldsFunc(ports, func(r rune) bool { return r == ',' }) {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return s, fmt.Errorf("-ports %q: %q is no port; give numbers from 1 to 65535", ports, text)
		}
		s.ports = append(s.ports, uint16(port))
	}
	if s.until != untilSilence && s.until != untilSettled {
		return s, fmt.Errorf("-until %q: choose %s or %s", s.until, untilSilence, untilSettled)
	}
	return s, nil
}

// wait answers why it ended. Where the kernel does not tell, nothing is known to be silent, and all of the time is used.
func wait(s settings, look func() ([]connection, error)) string {
	began := time.Now()
	deadline := began.Add(s.atMost)
	time.Sleep(min(s.settle, s.atMost))
	if s.until == untilSettled {
		return "settled"
	}
	last := "not looked yet"
	for {
		seen, err := look()
		if err != nil {
			last = err.Error()
		} else {
			held := busy(seen, portsOf(s.ports, seen), s.settle)
			if held == 0 {
				return fmt.Sprintf("silent after %s", time.Since(began).Round(time.Millisecond))
			}
			last = fmt.Sprintf("%d connection(s) not silent", held)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Sprintf("time is up after %s: %s", s.atMost, last)
		}
		time.Sleep(min(left, lookEvery))
	}
}

// install copies this very program. The copy comes into being under its name whole, or not at all.
func install(target string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	fresh := target + ".new"
	copied, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o555)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, self)
	if err = errors.Join(err, copied.Close()); err != nil {
		return err
	}
	// Whatever the umask was: containers of another user run it.
	if err = os.Chmod(fresh, 0o555); err != nil {
		return err
	}
	return os.Rename(fresh, target)
}

package main

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const resolvePatience = 30 * time.Second

func main() {
	if len(os.Args) == 2 && os.Args[1] == "stop" {
		os.Exit(stop())
	}
	settings, err := parseSettings(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer cancel()
		_, err = run(ctx, settings, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
}

// stop ends the run of this container from outside (kubectl exec), so that its report can still be read.
func stop() int {
	if err := syscall.Kill(1, syscall.SIGTERM); err != nil {
		fmt.Fprintln(os.Stderr, "load: stop: process 1:", err)
		return 1
	}
	return 0
}

// run plays all clients until the context, -duration or -requests ends them, and writes the report.
func run(ctx context.Context, settings settings, output io.Writer) (summary, error) {
	if settings.duration > 0 {
		bounded, cancel := context.WithTimeout(ctx, settings.duration)
		defer cancel()
		ctx = bounded
	}
	resolver, err := newResolver(ctx, settings.url.Hostname(), settings.port(), resolvePatience)
	if err != nil {
		return summary{}, err
	}
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	go resolver.keepFresh(background)

	tally := newTally(time.Now())
	lines := &lineWriter{encoder: json.NewEncoder(output)}
	go reportProgress(background, tally, lines)
	records := playClients(ctx, settings, resolver, tally)
	stopBackground()

	report := tally.summary(settings, time.Now())
	report.ResolverErrors = resolver.errors.Load()
	for _, record := range records {
		report.Clients = append(report.Clients, record.summary())
	}
	if settings.verifyDSN != "" {
		verifyWrites(settings.verifyDSN, settings.verifyTable, tally.acked, tally.unacked, &report.Writes)
	}
	return report, lines.write(summaryLine{report})
}

// playClients answers what was recorded of clients one by one, if that was asked for.
func playClients(ctx context.Context, settings settings, resolver *resolver, tally *tally) []*record {
	budget := newBudget(settings.requests)
	var everyone sync.WaitGroup
	var records []*record
	recorded := func(kind clientKind, number int) *record {
		if !settings.eachClient || kind == oneShot {
			return nil
		}
		records = append(records, &record{kind: kind, number: number})
		return records[len(records)-1]
	}
	for number, kind := range settings.kinds() {
		random := newRandom(settings.seed, number)
		if dial := heldDials[kind]; dial != nil {
			h := &holder{
				number: number, kind: kind, settings: settings, resolver: resolver, tally: tally, budget: budget,
				random: random, record: recorded(kind, number), dial: dial,
			}
			everyone.Go(func() { h.run(ctx) })
			continue
		}
		c := &client{
			number: number, kind: kind, settings: settings, resolver: resolver, tally: tally, budget: budget,
			random: random, script: newScript(settings, kind == oneShot, number, random), record: recorded(kind, number),
		}
		everyone.Go(func() { c.run(ctx) })
	}
	everyone.Wait()
	return records
}

func newScript(settings settings, oneShot bool, client int, random *rand.Rand) script {
	if settings.profile == "mc" {
		return newMcScript(settings.url, settings.host, oneShot, settings, client, random)
	}
	return newGetScript(settings.url, settings.host, oneShot, settings.expectStatus)
}

func newRandom(seed uint64, client int) *rand.Rand {
	if seed != 0 {
		return rand.New(rand.NewPCG(seed, uint64(client)))
	}
	var entropy [16]byte
	cryptorand.Read(entropy[:])
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(entropy[:8]), binary.LittleEndian.Uint64(entropy[8:])))
}

func reportProgress(ctx context.Context, tally *tally, lines *lineWriter) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			// A reader that went away must not end the run; the summary reports a broken output.
			_ = lines.write(progressLine{tally.progress(now)})
		}
	}
}

type lineWriter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (w *lineWriter) write(line any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.encoder.Encode(line)
}

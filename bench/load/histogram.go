package main

// Latencies in buckets that grow by 5 %, so that runs of any length cost the same and can be added up.

import (
	"math"
	"time"
)

const (
	firstBucketMs = 0.1
	bucketGrowth  = 1.05
	bucketCount   = 256 // up to about 26 s
)

type histogram struct {
	counts [bucketCount]uint32
	total  uint64
	max    time.Duration
}

func (h *histogram) add(latency time.Duration) {
	h.counts[bucketOf(latency)]++
	h.total++
	h.max = max(h.max, latency)
}

func bucketOf(latency time.Duration) int {
	ms := milliseconds(latency)
	if ms <= firstBucketMs {
		return 0
	}
	return min(bucketCount-1, int(math.Ceil(math.Log(ms/firstBucketMs)/math.Log(bucketGrowth))))
}

func bucketUpperMs(bucket int) float64 {
	return firstBucketMs * math.Pow(bucketGrowth, float64(bucket))
}

// quantile answers the upper edge of the bucket that holds it: at most 5 % too much, never too little.
func (h *histogram) quantile(q float64) float64 {
	if h.total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.total)))
	var seen uint64
	for bucket, count := range h.counts {
		seen += uint64(count)
		if seen >= rank {
			return min(bucketUpperMs(bucket), milliseconds(h.max))
		}
	}
	return milliseconds(h.max)
}

func (h *histogram) summary() latencySummary {
	s := latencySummary{
		P50: round2(h.quantile(0.50)), P95: round2(h.quantile(0.95)), P99: round2(h.quantile(0.99)),
		Max: round2(milliseconds(h.max)), Buckets: [][2]float64{},
	}
	for bucket, count := range h.counts {
		if count > 0 {
			s.Buckets = append(s.Buckets, [2]float64{round2(bucketUpperMs(bucket)), float64(count)})
		}
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func round2(x float64) float64             { return math.Round(x*100) / 100 }

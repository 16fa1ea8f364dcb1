package main

// Asks PostgreSQL itself whether every acknowledged create is there exactly once.

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	idsPerQuery     = 2000
	verifyPatience  = 60 * time.Second
	missingExamples = 10
)

func verifyWrites(dsn, table string, acked, unacked []executionID, writes *writeSummary) {
	ctx, cancel := context.WithTimeout(context.Background(), verifyPatience)
	defer cancel()
	if err := countInDatabase(ctx, dsn, table, acked, unacked, writes); err != nil {
		writes.Error = err.Error()
		return
	}
	writes.Verified = true
}

func countInDatabase(ctx context.Context, dsn, table string, acked, unacked []executionID, writes *writeSummary) error {
	database, err := pgx.Connect(ctx, dsn)
	if err != nil {
		// pgx leaves the password out of this error.
		return fmt.Errorf("-verify-dsn: cannot connect: %w", err)
	}
	defer database.Close(context.WithoutCancel(ctx))

	rows, err := rowsPerID(ctx, database, table, acked)
	if err != nil {
		return err
	}
	for _, id := range acked {
		switch count := rows[id]; {
		case count == 0:
			writes.Missing++
			if len(writes.MissingSample) < missingExamples {
				writes.MissingSample = append(writes.MissingSample, id.String())
			}
		case count > 1:
			writes.Duplicates++
		}
	}
	rows, err = rowsPerID(ctx, database, table, unacked)
	writes.UnacknowledgedPresent = len(rows)
	return err
}

func rowsPerID(ctx context.Context, database *pgx.Conn, table string, ids []executionID) (map[executionID]int, error) {
	found := make(map[executionID]int, len(ids))
	query := fmt.Sprintf("SELECT id, count(*) FROM %s WHERE id = ANY($1) GROUP BY id", pgx.Identifier{table}.Sanitize())
	for start := 0; start < len(ids); start += idsPerQuery {
		chunk := make([][16]byte, 0, idsPerQuery)
		for _, id := range ids[start:min(start+idsPerQuery, len(ids))] {
			chunk = append(chunk, id)
		}
		rows, err := database.Query(ctx, query, chunk)
		if err != nil {
			return nil, fmt.Errorf("-verify-dsn: %w", err)
		}
		var id [16]byte
		var count int
		_, err = pgx.ForEachRow(rows, []any{&id, &count}, func() error {
			found[id] += count
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("-verify-dsn: %w", err)
		}
	}
	return found, nil
}

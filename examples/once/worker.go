package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// work is your server, in each process. It prints the address, and each event when the work
// begins.
func work(ctx context.Context) error {
	db, dialect, err := openDatabase()
	if err != nil {
		return err
	}
	defer db.Close()
	events, err := oncesql.New(ctx, db, dialect, nil)
	if err != nil {
		return err
	}
	v, err := diffhook.NewVerifier(ctx, diffhook.EnvSecrets(), nil)
	if err != nil {
		return err
	}
	handler := v.EventHandler(events.InTx(handle))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the demonstration ends
		os.Exit(0)
	}()
	return http.Serve(listener, handler)
}

// handle does the work of an event, in the transaction with the record of the event. If the
// process is killed, neither is committed.
func handle(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
	_, err := tx.ExecContext(ctx, insertHandled, e.DedupKey())
	if err != nil {
		return err
	}
	fmt.Println("handling", e.DedupKey())
	time.Sleep(20 * time.Millisecond) // more work
	return nil
}

// insertHandled marks the argument by $1, as both databases read.
const insertHandled = "INSERT INTO diffhook_handled (event) VALUES ($1)"

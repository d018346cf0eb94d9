// Receiver is the small production server to copy: it verifies DiffHook's webhooks
// and logs the reported changes.
//
// The signing secret comes from the file or directory in DIFFHOOK_SECRET_PATH, such
// as a mounted Kubernetes secret, or else from DIFFHOOK_SIGNING_SECRET. The server
// listens on ADDR, by default 127.0.0.1:8080. Webhooks go to POST
// /webhooks/diffhook; GET /healthz answers 204.
package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/diffhook/diffhook-go"
)

func main() {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, logger); err != nil {
		logger.Error("receiver failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, logger *slog.Logger) error {
	source := diffhook.EnvSecrets()
	if path := os.Getenv("DIFFHOOK_SECRET_PATH"); path != "" {
		source = diffhook.FileSecrets(path)
	}
	v, err := diffhook.NewVerifier(ctx, source, &diffhook.VerifierOptions{Logger: logger})
	if err != nil {
		return err
	}
	// With Watch, the server rejects a revoked secret in time. A new secret needs
	// no Watch: the first delivery signed with it makes the verifier read the
	// source.
	go v.Watch(ctx, time.Minute)

	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/diffhook", v.EventHandler(newReceiver(logger)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       diffhook.DeliveryTimeout,
		WriteTimeout:      2 * diffhook.DeliveryTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"))
	if err != nil {
		return err
	}
	logger.Info("receiving", "url", "http://"+listener.Addr().String()+"/webhooks/diffhook",
		"secret", v.Status().Current.Fingerprint)
	return serve(ctx, server, listener)
}

// newReceiver returns the function for events. The function must return within 10
// seconds: move longer work to a queue. After an error or a lost response, DiffHook
// sends the event again. If a repetition matters, save the event's DedupKey and the
// effects in a single transaction, or use package once.
func newReceiver(logger *slog.Logger) func(context.Context, *diffhook.Event) error {
	return func(ctx context.Context, e *diffhook.Event) error {
		logger.InfoContext(ctx, "page changed", "monitor", e.MonitorID, "url", e.URL, "key", e.DedupKey())
		return nil
	}
}

// serve serves until ctx ends, and then lets running deliveries finish.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diffhook.DeliveryTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

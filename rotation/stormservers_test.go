package rotation_test

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// host is a server with a source: a lagging copy of the store.
type host struct {
	*server
	*storm
	label  string
	lag    time.Duration
	seen   saved // the newest document of the source, which never goes back
	fails  int   // failures of the source, in a row
	down   bool
	inside int // requests
}

var errStorm = errors.New("the storm")

func (h *host) Load(ctx context.Context) (diffhook.Secrets, error) {
	time.Sleep(h.upTo(300 * time.Millisecond))
	fails := h.chance(0.3)
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	if fails && h.fails < 2 {
		h.fails++
		return diffhook.Secrets{}, errStorm
	}
	h.fails = 0
	if next := h.store.asOf(h.lag); next.version > h.seen.version {
		h.seen = next
	}
	return rotation.Source(&memory{history: []saved{h.seen}}).Load(ctx)
}

// status serves the status of the server, which may be down.
func (h *host) status(w http.ResponseWriter, r *http.Request) {
	if h.storm.mu.Lock(); h.down {
		h.storm.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	h.storm.mu.Unlock()
	v, _ := h.now()
	v.StatusHandler().ServeHTTP(w, r)
}

func (h *host) isEmpty() bool {
	v, _ := h.now()
	status := v.Status()
	return status.Hold.Held+status.Hold.Pending == 0
}

// stop takes the server down if nothing is in memory, requests included.
func (h *host) stop() (stopped bool) {
	if !h.isEmpty() {
		return false
	}
	h.storm.mu.Lock()
	defer h.storm.mu.Unlock()
	h.down = true
	for h.inside > 0 {
		h.storm.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		h.storm.mu.Lock()
	}
	h.down = h.isEmpty()
	return h.down
}

// bounce restarts the server.
func (h *host) bounce() {
	time.Sleep(h.upTo(20 * time.Second))
	for !h.stop() {
		time.Sleep(h.upTo(3 * time.Second))
	}
	time.Sleep(h.upTo(3 * time.Second))
	for h.server.restart() != nil {
		time.Sleep(h.upTo(time.Second))
	}
	h.storm.mu.Lock()
	defer h.storm.mu.Unlock()
	h.down = false
	h.restarts++
}

// shaky is the store of the runs.
type shaky struct{ *storm }

func (s shaky) falters() (how int) {
	how = s.below(25)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faltered = !s.faltered && how < 4
	if !s.faltered {
		return -1
	}
	s.storeFaults++
	return how
}

func (s shaky) Get(ctx context.Context) ([]byte, string, error) {
	if s.falters() == 0 {
		return nil, "", errStorm
	}
	return s.store.Get(ctx)
}

func (s shaky) Swap(ctx context.Context, version string, doc []byte) error {
	switch s.falters() {
	case 0:
		return errStorm
	case 1:
		return rotation.ErrConflict
	case 2:
		return errors.Join(s.store.Swap(ctx, version, doc), errStorm)
	case 3:
		return errors.Join(s.store.Swap(ctx, version, doc), rotation.ErrConflict)
	}
	return s.store.Swap(ctx, version, doc)
}

// deaf is a receiver without a hold and a sealed successor.
type deaf struct{ pushless }

func (deaf) Hold(context.Context, time.Duration) error { return nil }

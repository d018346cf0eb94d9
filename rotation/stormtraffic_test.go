package rotation_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// pick returns a running server, and the end of the request to it.
func (s *storm) pick() (*host, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[s.rand.IntN(len(s.hosts))]
	if h.down {
		h = s.hosts[0]
	}
	h.inside++
	return h, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		h.inside--
	}
}

func event(id string) []byte {
	return fmt.Appendf(nil, `{"event":"page.changed","monitor_id":%q,"triggered_at":%q}`, id, time.Now().UTC().Format(time.RFC3339))
}

// send sends an event through the load balancer. The last attempt always arrives.
func (s *storm) send(id string) {
	first, past := s.luck()
	failure := s.below(3)
	var attempts atomic.Int64
	result := s.sender.SendTo(s.t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(attempts.Add(1)) - 1
		time.Sleep(s.upTo(time.Second))
		if n < first || n >= past {
			s.attempt(arrives, w, r)
			return
		}
		s.attempt(failure, w, r)
	}), event(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range result.Attempts {
		s.answers[a.StatusCode]++
	}
}

// luck returns the failing attempts of an event: from first on and before past.
func (s *storm) luck() (first, past int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.rand.IntN(4)
	past = min(first+1, 2)
	switch {
	case s.generation == 2:
		return 0, max(s.rand.IntN(40)-29, 0)
	case !s.risky && first == 0:
		return first, 2
	}
	return first, past
}

// Kinds of attempts.
const (
	badGateway = iota
	reset
	responseLost
	arrives
)

func (s *storm) attempt(kind int, w http.ResponseWriter, r *http.Request) {
	switch kind {
	case badGateway:
		w.WriteHeader(http.StatusBadGateway)
		return
	case reset:
		panic(http.ErrAbortHandler)
	}
	h, leave := s.pick()
	defer leave()
	_, handler := h.now()
	if kind == responseLost {
		handler.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	handler.ServeHTTP(w, r)
}

// forge sends a forgery: with a revoked or invented secret, or with the signature of
// another body.
func (s *storm) forge() {
	body := event("forged")
	s.mu.Lock()
	s.forged++
	signatures := []string{diffhooktest.NewSecret().Sign(body), s.signed[len(s.signed)-1].Sign(event("genuine"))}
	if n := len(s.signed) - 2; n > 0 { // the previous secret may be in force
		signatures = append(signatures, s.signed[s.rand.IntN(n)].Sign(body))
	}
	s.mu.Unlock()
	r := diffhooktest.NewRequest("/", diffhook.Secret{}, body)
	r.Header.Set([]string{diffhook.SignatureHeader, diffhook.SignatureHeaderGen2}[s.below(2)], signatures[s.below(len(signatures))])
	h, leave := s.pick()
	defer leave()
	_, handler := h.now()
	handler.ServeHTTP(httptest.NewRecorder(), r)
}

// blow sends events and forgeries until stop is closed.
func (s *storm) blow(stop chan struct{}) {
	var all sync.WaitGroup
	for n := 0; ; n++ {
		longest := 6 * time.Second
		s.mu.Lock()
		switch {
		case s.generation == 2 && s.drain:
			longest = time.Duration(s.stormCase.rotations) * time.Minute
		case s.stormCase.byHand:
			longest = 9 * time.Second
		}
		s.mu.Unlock()
		select {
		case <-stop:
			all.Wait()
			return
		case <-time.After(s.upTo(longest)):
		}
		id := fmt.Sprint("mon_", n)
		s.ids = append(s.ids, id)
		all.Go(func() { s.send(id) })
		all.Go(s.forge)
	}
}

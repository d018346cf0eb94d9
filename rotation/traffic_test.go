package rotation_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// person answers questions, and clicks in the app.
type person struct {
	*world
	think     time.Duration
	wrong     map[int]string // answers by the number of the question
	leaves    int            // the number of the question at which the person leaves; 0: never
	questions []rotation.Question
	before    func(n int, q rotation.Question) // called before a question is read
}

func (p *person) ask(ctx context.Context, q rotation.Question) (string, error) {
	p.stepsMu.Lock()
	p.questions = append(p.questions, q)
	n := len(p.questions)
	p.stepsMu.Unlock()
	select {
	case <-time.After(p.think):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if p.before != nil {
		p.before(n, q)
	}
	if n == p.leaves {
		return "", errAbsent
	}
	if answer, ok := p.wrong[n]; ok {
		return answer, nil
	}
	switch {
	case strings.Contains(q.Text, "click Rotate signing secret"):
		if !strings.HasPrefix(q.Text, "That cannot be right") { // a person remembers the click
			p.click()
		}
	case strings.Contains(q.Text, "revoke the old secret"):
		p.revocations++
		p.checkRevocation()
		p.team.RevokePrevious()
		return "", nil
	case strings.Contains(q.Text, "copy the old secret"):
		return p.team.Secrets().Previous.Reveal(), nil
	}
	return " " + p.team.Secrets().Current.Reveal() + "\n", nil
}

func (p *person) click() {
	p.rotations++
	p.team.Rotate()
}

// traffic sends an event and a forgery per second to each server while do runs. It
// returns the numbers of sent and of lost events. No forgery may be handled.
func (w *world) traffic(generation int, signOnce bool, do func()) (sent, lost int) {
	forger := diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Generation: generation, Retries: []time.Duration{}})
	sender := diffhooktest.NewSender(w.team.Secrets().Current, &diffhooktest.SenderOptions{Generation: generation, SignOnce: signOnce})
	var all sync.WaitGroup
	stop := make(chan struct{})
	var ids []string
	all.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
			sender.Rotate(w.team.Secrets().Current)
			for name, s := range w.servers {
				id := fmt.Sprintf("%s/mon_%d", name, n)
				ids = append(ids, id)
				body := fmt.Sprintf(`{"event":"page.changed","monitor_id":%q,"triggered_at":%q}`, id, time.Now().UTC().Format(time.RFC3339))
				all.Go(func() {
					_, h := s.now()
					forger.SendTo(w.t.Context(), h, []byte(strings.Replace(body, id, "forged", 1)))
				})
				all.Go(func() {
					sender.SendTo(w.t.Context(), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						sender.Rotate(w.team.Secrets().Current)
						_, h := s.now()
						h.ServeHTTP(rw, r)
					}), []byte(body))
				})
			}
		}
	})
	func() {
		defer close(stop) // also if do fails the test
		do()
	}()
	all.Wait()
	for _, s := range w.servers {
		v, _ := s.now()
		_ = v.Drain(w.t.Context())
		s.mu.Lock()
		require.Zero(w.t, s.handled["forged"], "a forgery was handled")
		s.mu.Unlock()
	}
	for _, id := range ids {
		s := w.servers[strings.SplitN(id, "/", 2)[0]]
		s.mu.Lock()
		if s.handled[id] == 0 {
			lost++
		}
		s.mu.Unlock()
	}
	return len(ids), lost
}

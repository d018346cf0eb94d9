package diffhooktest

import (
	"fmt"
	"time"
)

// Now returns the time on the server's clock, in UTC. The clock starts at the real
// time, or at the time of a [testing/synctest] bubble, and runs at the same pace.
// Everything in the emulator uses this clock but two measurements, in real time:
// the 10 s timeout of an attempt, and [Attempt].Took.
func (s *Server) Now() time.Time { return s.clock.now() }

// Advance moves the clock forward by d, and makes all attempts at webhooks that
// become due on the way. The attempts run singly in the order of their due times,
// with the clock at the due time. Apart from these moves, the clock stands still:
// an attempt takes no time on it. Advance(0) makes the attempts that are due now,
// for example after a trigger.
//
// Advance first waits for running attempts, so an endpoint must not call Advance
// during a delivery. It panics if d is negative.
func (s *Server) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("diffhooktest: Advance(%v): the clock cannot go back", d))
	}
	s.advance.Lock()
	defer s.advance.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advancing = true
	s.clock.stop()
	defer func() {
		s.clock.start()
		s.advancing = false
		s.wake()
	}()
	s.arm()
	target := s.clock.now().Add(d)
	for !s.closed {
		for s.inFlight > 0 {
			s.landed.Wait()
		}
		next := s.due()
		if next == nil || next.Next.After(target) {
			break
		}
		s.clock.move(next.Next)
		s.begin(next)
		s.unlocked(func() { s.attempt(next) })
	}
	s.clock.move(target)
}

// unlocked calls f while s.mu is free, and locks s.mu again even if f panics.
func (s *Server) unlocked(f func()) {
	s.mu.Unlock()
	defer s.mu.Lock()
	f()
}

// StartAt sets the clock of a new server to any time, past or future, for tests
// with fixed dates. The key and the secret of the default team are created at t.
// StartAt panics after the first request, webhook or monitor, and after an addition
// of a team, a key or an OAuth client.
func (s *Server) StartAt(t time.Time) {
	s.advance.Lock()
	defer s.advance.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	team := s.defaultTeam
	if len(s.requests)+len(s.sent)+len(team.monitors) > 0 || len(s.teams)+len(team.keys)+len(team.clients) > 3 {
		panic("diffhooktest: StartAt: the server is in use; call StartAt first, or move the clock with Advance")
	}
	s.clock.set(t)
	team.keys[0].created = s.clock.now()
	team.signing.created = s.clock.now()
}

package diffhooktest

import (
	"fmt"
	"time"
)

// Now returns the time on the server's clock, in UTC: what everything in the
// emulator goes by. It starts as the real time and runs like it, from wherever
// it is turned to; within a [testing/synctest] bubble it runs with the time of
// the bubble. The 10 s that an endpoint has are always real time.
func (s *Server) Now() time.Time { return s.clock.now() }

// Advance turns the clock forward by d, and returns when all attempts to
// deliver webhooks that became due by then have been made: one after the other
// in the order in which they were due, each with the clock at the time it was
// due. While it is at work the clock stands still but for that, so attempts
// take no time on it. Advance(0) waits for the attempts that are due now, such
// as after a trigger.
//
// It first waits for the attempts under way, so an endpoint that is being
// called must not call it. It panics where d is negative.
func (s *Server) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("diffhooktest: Advance(%v): the clock does not go back", d))
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

// unlocked calls f without the mutex, which it holds again also where f
// panics.
func (s *Server) unlocked(f func()) {
	s.mu.Unlock()
	defer s.mu.Lock()
	f()
}

// StartAt turns the clock of a server that nothing has happened to yet to any
// time, past or future, for tests with fixed dates. What the default team has
// from the start is then as old as that. It panics once there was a request,
// a webhook, another team, or a second key, or client, or a monitor.
func (s *Server) StartAt(t time.Time) {
	s.advance.Lock()
	defer s.advance.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	team := s.defaultTeam
	if len(s.requests)+len(s.sent)+len(team.monitors) > 0 || len(s.teams)+len(team.keys)+len(team.clients) > 3 {
		panic("diffhooktest: StartAt comes before everything else; turn the clock with Advance")
	}
	s.clock.set(t)
	team.keys[0].created = s.clock.now()
	team.signing.created = s.clock.now()
}

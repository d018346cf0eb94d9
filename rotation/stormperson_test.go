package rotation_test

import (
	"context"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

func (s *storm) think(ctx context.Context) error {
	d := s.upTo(30 * time.Second)
	if s.chance(0.1) {
		d = s.upTo(12 * time.Minute)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.chance(0.08) {
		s.absences++
		return errAbsent
	}
	return nil
}

// ask is the person.
func (s *storm) ask(ctx context.Context, q rotation.Question) (string, error) {
	s.note(q.Text)
	if err := s.think(ctx); err != nil {
		return "", err
	}
	click := strings.Contains(q.Text, "click Rotate signing secret")
	switch {
	case q.Confirm:
		s.checkRevocation()
		s.team.RevokePrevious()
		return "", nil
	case strings.Contains(q.Text, "copy the old secret"):
		return s.team.Secrets().Previous.Reveal(), nil
	case click && !s.clicked:
		s.clicked = true
		s.team.Rotate()
		s.changed()
		if err := s.think(ctx); err != nil {
			return "", err
		}
	}
	return s.paste(click), nil
}

// paste returns the new secret, or a mistake.
func (s *storm) paste(click bool) string {
	if click && s.errs {
		s.errs, s.mistake = false, diffhooktest.NewSecret()
		return s.mistake.Reveal()
	}
	text := s.team.Secrets().Current.Reveal()
	if s.careful || !s.chance(0.25) {
		return " " + text + "\n"
	}
	s.wrongs++
	kinds := []string{"", `"` + text + `"`, s.platf.APIKey().Reveal(), s.signed[max(len(s.signed)-2, 0)].Reveal()}
	if click { // elsewhere, the fingerprint shows a cut-off text
		s.cuts++
		kinds = append(kinds, text[:16+s.cuts%8])
	}
	return kinds[s.below(len(kinds))]
}

package diffhook_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// TestCountsAreExact: no use is lost or counted twice, however many goroutines
// verify, and a status in between never goes back.
func TestCountsAreExact(t *testing.T) {
	const goroutines, each = 40, 500
	current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
	v := newVerifier(t, diffhook.Secrets{Current: current, Previous: previous, PreviousExpires: time.Now().Add(time.Hour)}, nil)
	body := []byte(`{"event":"page.changed"}`)
	signatures := []string{current.Sign(body), previous.Sign(body)}
	began := time.Now()
	done := make(chan struct{})
	var watching, verifying sync.WaitGroup
	watching.Go(func() {
		var before uint64
		for {
			uses := v.Status().Current.Uses
			assert.GreaterOrEqual(t, uses, before)
			before = uses
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range goroutines {
		verifying.Go(func() {
			for range each {
				assert.NoError(t, v.Verify(t.Context(), body, signatures[i%2]))
			}
		})
	}
	verifying.Wait()
	close(done)
	watching.Wait()
	status := v.Status()
	require.EqualValues(t, goroutines/2*each, status.Current.Uses)
	require.EqualValues(t, goroutines/2*each, status.Previous.Uses)
	for _, s := range []diffhook.SecretStatus{status.Current, status.Previous} {
		assert.WithinRange(t, s.LastUsed, began.Add(-time.Second), status.At)
	}
}

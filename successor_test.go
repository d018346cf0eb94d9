package diffhook_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// seal returns the text that hands the secret next to verifiers at old.
func seal(tb testing.TB, old, next string) string {
	tb.Helper()
	sealed, err := letter(tb, old).SealSuccessor(letter(tb, next))
	require.NoError(tb, err)
	return sealed
}

func (r rotationTest) push(old, next string) {
	require.NoError(r, r.v.AcceptSuccessor(seal(r, old, next)))
}

func (r rotationTest) pushInVain(old, next string) {
	before := r.v.Status().Changed
	require.ErrorIs(r, r.v.AcceptSuccessor(seal(r, old, next)), diffhook.ErrInvalidSecret)
	require.Equal(r, before, r.v.Status().Changed)
}

// requireSource requires what the source is shown to have.
func (r rotationTest) requireSource(name string) {
	require.Equal(r, letter(r, name).Fingerprint(), r.v.Status().Source)
}

// What a pushed successor does, as stories: what is done, and which secrets are
// accepted after it. The source says only "A" at first.
func TestAcceptSuccessor(t *testing.T) {
	const day = 24 * time.Hour
	type step struct {
		do   func(rotationTest)
		want string
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"both are accepted, the old one for the window", []step{
			{func(r rotationTest) { r.push("A", "B"); r.requireSource("A") }, "A!B 401"},
			{func(r rotationTest) { r.later(day - 1) }, "A!B 401"},
			{func(r rotationTest) { r.later(1) }, "B 401"},
		}},
		{"twice is as once", []step{
			{func(r rotationTest) { r.push("A", "B"); r.later(day / 2); r.push("A", "B") }, "A!B 401"},
			{func(r rotationTest) { r.later(day / 2) }, "B 401"},
		}},
		{"the source is behind", []step{
			{func(r rotationTest) { r.push("A", "B"); r.says("A", "") }, "A!B 401"},
			{func(r rotationTest) { r.says("A", "D"); r.requireSource("A") }, "A!B 401"},
			{func(r rotationTest) { r.saysUntil("A", "D", time.Now().Add(time.Hour)) }, "A!B 401"},
			{func(r rotationTest) { r.saysNoPrevious("A", "") }, "A!B 401"},
			{func(r rotationTest) { r.later(day); r.says("A", "D") }, "B 401"},
		}},
		{"the source fails, and is behind", []step{
			{func(r rotationTest) {
				r.push("A", "B")
				r.source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
				require.Error(r, r.v.Refresh(r.Context()))
				r.requireSource("A")
				r.says("A", "D")
			}, "A!B 401"},
		}},
		{"the source has it", []step{
			{func(r rotationTest) { r.push("A", "B"); r.says("B", ""); r.requireSource("B") }, "A!B 401"},
			{func(r rotationTest) { r.later(day) }, "B 401"},
		}},
		{"the source has it and states that there is no previous one", []step{
			{func(r rotationTest) { r.push("A", "B"); r.saysNoPrevious("B", "") }, "B 401"},
		}},
		{"the source has it, and states later that there is no previous one", []step{
			{func(r rotationTest) { r.push("A", "B"); r.says("B", "") }, "A!B 401"},
			{func(r rotationTest) { r.saysNoPrevious("B", "") }, "B 401"},
		}},
		{"the source has it and the end of the previous one", []step{
			{func(r rotationTest) { r.push("A", "B"); r.saysUntil("B", "A", time.Now().Add(time.Hour)) }, "A!B 401"},
			{func(r rotationTest) { r.later(time.Hour) }, "B 401"},
		}},
		{"the source had it before", []step{
			{func(r rotationTest) { r.says("B", ""); r.push("A", "B") }, "A!B 401"},
			{func(r rotationTest) { r.says("A", "D") }, "AD! 401"}, // the source decides as ever
		}},
		{"the source has it and goes back", []step{
			{func(r rotationTest) { r.push("A", "B"); r.says("B", ""); r.says("A", "") }, "AB! 401"},
		}},
		{"the source has yet another", []step{
			{func(r rotationTest) { r.push("A", "B"); r.says("C", "B") }, "B!C 401"},
			{func(r rotationTest) { r.says("A", "") }, "AC! 401"},
		}},
		{"a successor of the successor", []step{
			{func(r rotationTest) { r.push("A", "B"); r.push("B", "C") }, "B!C 401"},
			{func(r rotationTest) { r.says("A", "D") }, "B!C 401"},
			{func(r rotationTest) { r.pushInVain("A", "B") }, "B!C 401"}, // replayed
			{func(r rotationTest) { r.says("C", ""); r.pushInVain("A", "B"); r.pushInVain("B", "A") }, "B!C 401"},
		}},
		{"a wrong one is corrected", []step{
			{func(r rotationTest) { r.push("A", "B"); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.pushInVain("B", "C") }, "A! 503"}, // the wrong one may be known to many
			{func(r rotationTest) { r.says("A", "") }, "A 401"},
			{func(r rotationTest) { r.push("A", "C"); r.pushInVain("A", "B") }, "A!C 401"},
			{func(r rotationTest) { r.says("A", "D") }, "A!C 401"},
		}},
		{"the old one is rejected after it", []step{
			{func(r rotationTest) { r.push("A", "B"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.saysInVain("A", ""); r.requireSource("A") }, "B 503"},
			{func(r rotationTest) { r.says("B", "A"); r.requireSource("B") }, "B 401"},
			{func(r rotationTest) { r.saysInVain("A", ""); r.requireSource("A") }, "B 503"}, // it lost it again
		}},
		{"nothing that was rejected, nor under what was", []step{
			{func(r rotationTest) { r.reject("B"); r.pushInVain("A", "B") }, "A 401"},
			{func(r rotationTest) { r.reject("A"); r.pushInVain("A", "C") }, " 503"},
			{func(r rotationTest) { r.says("C", ""); r.pushInVain("A", "C") }, "C 401"},
		}},
		{"not under the previous one, nor under a stranger", []step{
			{func(r rotationTest) { r.says("B", "A"); r.pushInVain("A", "C"); r.pushInVain("D", "C") }, "A!B 401"},
		}},
		{"Rotate after it lasts until the next answer, as ever", []step{
			{func(r rotationTest) { r.push("A", "B"); r.rotate("C", time.Hour) }, "B!C 401"},
			{func(r rotationTest) { r.saysNoPrevious("A", "") }, "A 401"},
		}},
		{"after Rotate", []step{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.push("B", "C") }, "B!C 401"},
			{func(r rotationTest) { r.says("A", "D") }, "B!C 401"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
				r.v = newVerifier(t, r.source, &diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})
				r.verdicts() // spends the reads that misses start
				for i, step := range test.steps {
					step.do(r)
					assert.Equal(t, step.want, r.verdicts(), "after step %d", i+1)
				}
			})
		})
	}
}

// A negative RotationWindow keeps no replaced secret, pushed or not.
func TestAcceptSuccessorWithoutWindow(t *testing.T) {
	r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
	r.v = newVerifier(t, r.source, &diffhook.VerifierOptions{RotationWindow: -1, MinRefreshInterval: 1<<63 - 1})
	r.push("A", "B")
	require.Equal(t, "B 401", r.verdicts())
	require.Zero(t, r.v.Status().Previous)
	r.says("A", "D")
	require.Equal(t, "B 401", r.verdicts())
}

func TestAcceptSuccessorOfZeroVerifier(t *testing.T) {
	var v diffhook.Verifier
	require.ErrorIs(t, v.AcceptSuccessor(seal(t, "A", "B")), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.AcceptSuccessor("no text"), diffhook.ErrInvalidSecret)
}

func TestSealSuccessorErrors(t *testing.T) {
	for name, pair := range map[string][2]string{
		"of a zero secret": {"", "B"},
		"to a zero secret": {"A", ""},
		"of both":          {"", ""},
		"to itself":        {"A", "A"},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := letter(t, pair[0]).SealSuccessor(letter(t, pair[1]))
			require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
			require.Empty(t, sealed)
		})
	}
}

// The form is fixed: a verifier of another version may have to open it. Python's
// package cryptography sealed this text: AES-256-GCM with the nonce 00 to 0b in
// front, and a key of HKDF-SHA-256 without salt, with the text before the last dot
// as info.
func TestSealedSuccessorForm(t *testing.T) {
	const sealed = "diffhook-successor-v1.3c01685fd7b8fdff.8298e8d966c9826a." +
		"AAECAwQFBgcICQoL6THG5aCJyCVc9JuxCWEmKNAZtysVxLsF3jXjuMDUlmHzdR28BZjJr47ACYY"
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	require.NoError(t, v.AcceptSuccessor(sealed))
	require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	head, _, _ := strings.Cut(sealed, ".AAEC")
	require.True(t, strings.HasPrefix(seal(t, "A", "B"), head+"."))
	require.Len(t, seal(t, "A", "B"), len(sealed))
}

// A sealed text shows neither secret, and no two are the same.
func TestSealedSuccessorIsOpaque(t *testing.T) {
	detector := newLeakDetector(opaqueText, opaqueText2)
	seen := map[string]bool{}
	for range 100 {
		sealed, err := mustSecret(t, opaqueText).SealSuccessor(mustSecret(t, opaqueText2))
		require.NoError(t, err)
		require.False(t, seen[sealed])
		seen[sealed] = true
		bytes, err := base64.RawURLEncoding.DecodeString(sealed[strings.LastIndexByte(sealed, '.')+1:])
		require.NoError(t, err)
		require.Empty(t, detector.find(sealed+string(bytes)))
	}
}

// Threat: somebody between the rotation and the server changes the text, or makes one
// of pieces. Nothing of it is accepted, and no error shows a secret.
func TestAcceptSuccessorRefusesChangedTexts(t *testing.T) {
	sealed, other := seal(t, "A", "B"), seal(t, "A", "C")
	cut := strings.LastIndexByte(sealed, '.')
	texts := map[string]string{
		"empty":                              "",
		"the secret itself":                  letter(t, "B").Reveal(),
		"another version":                    strings.Replace(sealed, "v1", "v2", 1),
		"another ciphertext":                 sealed[:cut] + other[cut:],
		"another head":                       other[:cut] + sealed[cut:],
		"upper case":                         strings.ToUpper(sealed[:cut]) + sealed[cut:],
		"no ciphertext":                      sealed[:cut+1],
		"a short ciphertext":                 sealed[:cut+5],
		"cut off":                            sealed[:len(sealed)-4],
		"a part more":                        sealed + "." + sealed[cut+1:],
		"padded":                             sealed + "=",
		"the beginning of the next one's":    sealed[:cut+10] + other[cut+10:],
		"the old fingerprint as the new one": strings.Replace(sealed, letter(t, "B").Fingerprint(), letter(t, "A").Fingerprint(), 1) + "A",
	}
	for i := range sealed {
		for _, c := range []byte{'A', 'b', '0', '_'} {
			if changed := sealed[:i] + string(c) + sealed[i+1:]; changed != sealed {
				texts[changed] = changed
			}
		}
	}
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	before := v.Status().Current.Fingerprint
	for name, text := range texts {
		err := v.AcceptSuccessor(text)
		if strings.Contains(name, "old fingerprint") {
			assert.NoError(t, err, "it is the current secret: nothing is done")
		} else if !assert.ErrorIs(t, err, diffhook.ErrInvalidSecret, name) {
			continue
		} else {
			assert.NotContains(t, err.Error(), letter(t, "A").Reveal())
			assert.NotContains(t, err.Error(), letter(t, "B").Reveal())
		}
		assert.Equal(t, before, v.Status().Current.Fingerprint, name)
	}
	require.NoError(t, v.AcceptSuccessor(sealed))
}

// Deliveries that either secret signed are accepted all the while, whatever a source
// that is behind answers.
func TestAcceptSuccessorConcurrently(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	v := newVerifier(t, source, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var work, reads sync.WaitGroup
	reads.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			source.set(diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, []string{"C", "D"}[i%2])}, nil)
			assert.NoError(t, v.Refresh(t.Context()))
		}
	})
	sealed := seal(t, "A", "B")
	for range 4 {
		work.Go(func() {
			assert.NoError(t, v.AcceptSuccessor(sealed))
			for range 500 {
				assert.NoError(t, verifySigned(t, t.Context(), v, "A"))
				assert.NoError(t, verifySigned(t, t.Context(), v, "B"))
			}
		})
	}
	work.Wait()
	cancel()
	reads.Wait()
	require.Equal(t, letter(t, "B").Fingerprint(), v.Status().Current.Fingerprint)
	require.Equal(t, letter(t, "A").Fingerprint(), v.Status().Source)
}

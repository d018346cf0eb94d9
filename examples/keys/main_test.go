package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

func TestKeysOnEmulator(t *testing.T) {
	t.Setenv("DIFFHOOK_API_KEY", "")
	t.Setenv("DIFFHOOK_CLIENT_ID", "")
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	assert.Contains(t, out.String(), "Calling an emulator")
	assert.Regexp(t, `ci-pipeline .* older than 90 days: rotate the key \(examples/rotate-key\)`, out.String())
	assert.NotRegexp(t, `default .* older than 90 days`, out.String())
	assert.Regexp(t, `Created key_\w+ \(dh_live_…\w{4}\)\.\nDeleted key_`, out.String())
}

// Credentials in the environment select DiffHook. With malformed credentials, no
// request is sent.
func TestKeysWithBadCredentials(t *testing.T) {
	t.Setenv("DIFFHOOK_API_KEY", "not a key")
	var out bytes.Buffer
	require.ErrorIs(t, run(t.Context(), &out), diffhook.ErrInvalidCredentials)
	assert.Contains(t, out.String(), "Calling DiffHook")
}

package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/redact"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, demonstrate(t.Context(), &out), out.String())
	assert.Regexp(t, `made [1-9]\d* calls; 0 failed`, out.String())
	assert.Regexp(t, `The app shows the keys default, production-server\S+\.`, out.String())
	for range redact.Find(out.Bytes()) {
		t.Error("the output contains a key")
	}
}

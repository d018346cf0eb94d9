package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDemonstration(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, demonstrate(t.Context(), &out), out.String())
	assert.Regexp(t, `45s after the click +[1-9]\d* +0\n`, out.String())
	assert.Regexp(t, `10m0s after the click +4\d\d +0\n`, out.String())
}

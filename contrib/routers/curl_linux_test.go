package routers_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The deliveries by curl and openssl of testing.md get the statuses that the page
// shows. The test needs both programs.
func TestCurl(t *testing.T) {
	secret := diffhooktest.NewSecret()
	v, err := diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: secret}, nil)
	require.NoError(t, err)
	server := httptest.NewServer(netHTTP.event(v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })))
	defer server.Close()

	_, text, found := strings.Cut(read(t, "../../docs/testing.md"), "a valid, a forged and an unsigned delivery:")
	require.True(t, found)
	script := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(text)
	require.NotNil(t, script)
	require.Contains(t, script[1], "http://localhost:8080")
	var want []string
	for _, status := range regexp.MustCompile(`(?m)# (\d{3})$`).FindAllStringSubmatch(script[1], -1) {
		want = append(want, status[1])
	}
	require.Equal(t, []string{"204", "401", "401"}, want)

	command := exec.CommandContext(t.Context(), "sh", "-euc", strings.ReplaceAll(script[1], "http://localhost:8080", server.URL))
	command.Env = append(os.Environ(), "DIFFHOOK_SIGNING_SECRET="+secret.Reveal())
	command.Stderr = os.Stderr
	output, err := command.Output()
	require.NoError(t, err)
	assert.Equal(t, want, strings.Fields(string(output)))
}

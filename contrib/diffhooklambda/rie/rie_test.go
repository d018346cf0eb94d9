//go:build linux

package rie_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda/internal/gateway"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// programs is the folder of the emulator and the bootstrap program.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "rie"); err != nil {
		log.Fatal(err)
	}
	output, err := exec.Command("go", "build", "-o", programs, "./bootstrap",
		"github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie").CombinedOutput()
	if err != nil {
		log.Fatalf("%v: %s", err, output)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

func TestFunctionUnderEmulator(t *testing.T) {
	secret := diffhooktest.NewSecret()
	url := start(t, secret)
	forger := diffhooktest.NewSecret()
	for _, g := range gateway.All {
		for _, encode := range []bool{false, true} {
			for _, c := range []struct {
				name, monitor string
				secret        diffhook.Secret
				doubled       bool
				status        int
			}{
				{name: "valid", monitor: "mon_abc123", secret: secret, status: 204},
				{name: "forged", monitor: "mon_abc123", secret: forger, status: 401},
				{name: "doubled", monitor: "mon_abc123", secret: secret, doubled: true, status: 401},
				{name: "the function fails", monitor: "mon_fail", secret: secret, status: 500},
				{name: "the function is not available", monitor: "mon_later", secret: secret, status: 503},
				{name: "the timeout of the function", monitor: "mon_timeout", secret: secret, status: 204},
			} {
				t.Run(fmt.Sprintf("%s, base64 %t, %s", g.Name, encode, c.name), func(t *testing.T) {
					body := event(c.monitor)
					header := [][2]string{{"Content-Type", "application/json"}, {diffhook.SignatureHeader, c.secret.Sign(body)}}
					status := c.status
					if c.doubled {
						header = append(header, header[1])
						if g.LastHeader {
							status = http.StatusNoContent
						}
					}
					response, err := g.Response(invoke(t, url, g.Event(gateway.Request{Header: header, Body: body, Encode: encode})))
					require.NoError(t, err)
					assert.Equal(t, status, response.Status)
				})
			}
		}
	}
}

// Lambda allows payloads of 6 MB.
func TestLongBody(t *testing.T) {
	secret := diffhooktest.NewSecret()
	url := start(t, secret)
	body := event("mon_" + strings.Repeat("x", 4<<20))
	for _, g := range gateway.All {
		response, err := g.Response(invoke(t, url, g.Event(gateway.Request{
			Header: [][2]string{{"x-diffhook-signature", secret.Sign(body)}}, Body: body, Encode: true,
		})))
		require.NoError(t, err)
		assert.Equal(t, http.StatusNoContent, response.Status, g.Name)
	}
}

// An error of the runtime is an object with an errorType, and no response. Behind a gateway,
// the answer is 500 or 502, and DiffHook retries.
func TestErrorsOfTheRuntime(t *testing.T) {
	secret := diffhooktest.NewSecret()
	url := start(t, secret)
	body := event("mon_panic")
	for name, payload := range map[string][]byte{
		"unknown event": []byte(`{"Records":[]}`),
		"panic": gateway.All[0].Event(gateway.Request{
			Header: [][2]string{{diffhook.SignatureHeader, secret.Sign(body)}}, Body: body,
		}),
	} {
		t.Run(name, func(t *testing.T) {
			var failure struct{ ErrorType, ErrorMessage string }
			require.NoError(t, json.Unmarshal(invoke(t, url, payload), &failure))
			assert.NotEmpty(t, failure.ErrorType)
			assert.NotContains(t, failure.ErrorMessage, secret.Sign(body))
		})
	}
	body = event("mon_abc123") // the next invocation starts a new process
	response, err := gateway.All[0].Response(invoke(t, url, gateway.All[0].Event(gateway.Request{
		Header: [][2]string{{diffhook.SignatureHeader, secret.Sign(body)}}, Body: body,
	})))
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, response.Status)
}

func event(monitor string) []byte {
	return fmt.Appendf(nil, `{"event":"page.changed","monitor_id":%q}`, monitor)
}

// start runs the bootstrap program under the emulator, and returns the URL of the
// function.
func start(t *testing.T, secret diffhook.Secret) string {
	t.Helper()
	address := freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "aws-lambda-rie"),
		"--log-level", "error",
		"--runtime-interface-emulator-address", address,
		"--runtime-api-address", freeAddress(t),
		filepath.Join(programs, "bootstrap"))
	cmd.Env = []string{"DIFFHOOK_SIGNING_SECRET=" + secret.Reveal(), "AWS_LAMBDA_FUNCTION_TIMEOUT=4"}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // the emulator ends the bootstrap
	cmd.WaitDelay = 10 * time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		assert.NotContains(t, output.String(), secret.Reveal())
		if t.Failed() {
			t.Log(output.String())
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}, 30*time.Second, 20*time.Millisecond, "the emulator listens")
	return "http://" + address + "/2015-03-31/functions/function/invocations"
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// invoke returns the answer of the function, or the error of the runtime.
func invoke(t *testing.T, url string, payload []byte) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(payload))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer
}

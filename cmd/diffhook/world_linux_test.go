package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// receiverToken is the token for the servers of a world.
const receiverToken = "token-of-the-test-receivers"

// world is the platform, two servers with the same document, and the files of the tool.
type world struct {
	t         *testing.T
	platform  *diffhooktest.Server
	secrets   string // file with the document of the signing secret
	keys      string // file with the document of the API key
	monitors  []string
	handled   chan struct{} // an element for each event
	env       []string
	receivers []string // NAME=URL of the status handlers
	servers   []*diffhook.Verifier
	first     diffhook.Secret // in force at the beginning
	typed     []string        // secrets and keys, which no output may show
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{
		t:        t,
		handled:  make(chan struct{}, 1000),
		platform: diffhooktest.NewServer(t),
		secrets:  filepath.Join(dir, "secret.json"),
		keys:     filepath.Join(dir, "key.json"),
	}
	w.first = w.platform.Secrets().Current
	w.know(w.first.Reveal(), w.platform.APIKey().Reveal(), receiverToken)
	require.NoError(t, rotation.NewSecret(t.Context(), rotation.FileStore(w.secrets), w.first))
	document := rotation.Source(rotation.FileStore(w.secrets))
	w.receivers = []string{w.serve("web1", document), w.serve("web2", document)}
	w.env = []string{
		variableSecretStore + "=" + w.secrets,
		variableKeyStore + "=" + w.keys,
		variableReceiverToken + "=" + receiverToken,
		variableBaseURL + "=" + w.platform.URL,
	}
	return w
}

// serve starts a server with the source, and returns NAME=URL of the status handler.
func (w *world) serve(name string, source diffhook.SecretSource) string {
	v, err := diffhook.NewVerifier(w.t.Context(), source, nil)
	require.NoError(w.t, err)
	w.servers = append(w.servers, v)
	mux := http.NewServeMux()
	mux.Handle("POST /hook", v.EventHandler(func(context.Context, *diffhook.Event) error {
		w.handled <- struct{}{}
		return nil
	}))
	status := v.StatusHandler()
	mux.HandleFunc("/status", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+receiverToken {
			http.Error(rw, "who are you?", http.StatusUnauthorized)
			return
		}
		status.ServeHTTP(rw, r)
	})
	server := httptest.NewServer(mux)
	w.t.Cleanup(server.Close)
	monitor := w.platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: server.URL + "/hook"})
	w.monitors = append(w.monitors, monitor.ID)
	return name + "=" + server.URL + "/status"
}

// statuses returns the statuses of the servers, after a read of the document.
func (w *world) statuses() (statuses []diffhook.VerifierStatus) {
	w.t.Helper()
	for _, v := range w.servers {
		require.NoError(w.t, v.Refresh(w.t.Context()))
		statuses = append(statuses, v.Status())
	}
	return statuses
}

// know adds texts that no output may show.
func (w *world) know(texts ...string) { w.typed = append(w.typed, texts...) }

// change changes the page of each monitor.
func (w *world) change() {
	w.t.Helper()
	for _, id := range w.monitors {
		_, err := w.platform.Change(id, nil)
		require.NoError(w.t, err)
	}
}

// delivered waits until the servers have handled all n deliveries.
func (w *world) delivered(n int) {
	w.t.Helper()
	require.Len(w.t, w.platform.Deliveries(), n)
	late := time.After(patience)
	for range n {
		select {
		case <-w.handled:
		case <-late:
			require.Fail(w.t, "a delivery was lost")
		}
	}
}

// program returns the tool with the environment of the world.
func (w *world) program(args ...string) *exec.Cmd {
	return program(append([]string{variableReceivers + "=" + strings.Join(w.receivers, " ")}, w.env...), args...)
}

// rotateSecret returns the command line of a quick rotation.
func (w *world) rotateSecret(more ...string) *exec.Cmd {
	return w.program(append([]string{"rotate-secret", "--poll", "50ms", "--retry-horizon", "100ms", w.first.Fingerprint()}, more...)...)
}

// showsNoSecret checks an output.
func (w *world) showsNoSecret(output string) {
	w.t.Helper()
	for _, text := range append(w.typed, w.platform.Secrets().Current.Reveal()) {
		require.NotContains(w.t, output, text)
	}
}

// person answers the tool's questions as a person at the app would.
type person struct {
	w       *world
	answers []answer
	asked   int // questions of the last run
}

// answer is the answer to questions with a text.
type answer struct {
	question string
	give     func(question string) string
}

// secretPerson rotates and revokes the signing secret in the app when asked, and
// remembers the click.
func (w *world) secretPerson() *person {
	clicked := false
	return &person{w: w, answers: []answer{
		{"Copy the whole secret that is shown now", func(string) string {
			return w.platform.Secrets().Current.Reveal()
		}},
		{"click Rotate signing secret, once", func(string) string {
			if !clicked {
				w.platform.Rotate()
				w.change() // signed with an unknown secret
				clicked = true
			}
			return w.platform.Secrets().Current.Reveal()
		}},
		{"copy the old secret, and paste it here", func(string) string {
			return w.platform.Secrets().Previous.Reveal()
		}},
		{"revoke the old secret, if the app shows one", func(string) string {
			w.platform.RevokePrevious()
			return ""
		}},
	}}
}

// interruption is the moment of a Ctrl-C.
type interruption struct {
	question int  // the number of the question, from 1 on; 0: none
	clicked  bool // after the click in the app
}

// answerAll answers until the program ends, and returns the exit code.
func (p *person) answerAll(s *session, stop interruption) int {
	p.w.t.Helper()
	for asked := 1; ; asked++ {
		seen := s.position()
		if s.expectOrEnd("does not show: ", "Enter: ", "> ") == "" {
			break
		}
		p.asked = asked
		text := ""
		if asked != stop.question || stop.clicked {
			text = p.to(s.since(seen))
		}
		if asked == stop.question {
			s.press("half an answer" + ctrlC)
		} else {
			s.enter(text)
		}
	}
	code := s.wait()
	p.w.showsNoSecret(s.screen())
	require.NotContains(p.w.t, s.screen(), "half an answer")
	require.True(p.w.t, s.echoes(), "the terminal is as it was")
	return code
}

// answerUntil answers until the screen shows text in place of a question.
func (p *person) answerUntil(s *session, text string) {
	for seen := s.position(); s.expect("does not show: ", text) != text; seen = s.position() {
		s.enter(p.to(s.since(seen)))
	}
}

func (p *person) to(question string) string {
	p.w.t.Helper()
	question = strings.Join(strings.Fields(question), " ")
	for _, a := range p.answers {
		if strings.Contains(question, a.question) {
			text := a.give(question)
			if len(text) > 3 { // not yes or no
				p.w.know(text)
			}
			return text
		}
	}
	p.w.t.Fatalf("an unknown question: %s", question)
	return ""
}

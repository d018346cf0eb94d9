package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
	"golang.org/x/term"
)

const variableBaseURL = "DIFFHOOK_BASE_URL"

// platformFlags are the flags for a change by hand or through the API.
type platformFlags struct {
	api     *bool
	baseURL *string
}

func (f *flags) platform() *platformFlags {
	return &platformFlags{api: f.bool("api"), baseURL: f.text("base-url", variableBaseURL)}
}

func (p *platformFlags) options() *diffhook.ClientOptions {
	return &diffhook.ClientOptions{BaseURL: *p.baseURL}
}

// client returns a client of the API, and sends nothing. An error is a usageError: the
// command line or the environment is invalid.
func (p *platformFlags) client(credentials diffhook.Credentials) (*diffhook.Client, error) {
	client, err := diffhook.NewClient(credentials, p.options())
	if err != nil {
		return nil, usagef("%v", err)
	}
	return client, nil
}

// conversation is a run with progress and, unless the run calls the API, questions.
type conversation struct {
	platform *platformFlags
	console  *console
	prompt   *prompt                      // nil with --api
	notes    map[rotation.StepName]string // texts before the first wait of a step
	step     atomic.Value                 // the present rotation.StepName
}

// converse calls do with a conversation. A nil platform asks a person.
func (a *app) converse(ctx context.Context, platform *platformFlags, do func(*conversation) error) error {
	c := &conversation{platform: platform, console: newConsole(a.stderr)}
	defer c.console.close()
	if platform == nil || !*platform.api {
		p, err := newPrompt(a.stdin, a.promptOutput(), c.console)
		if err != nil {
			return err
		}
		defer p.close()
		defer context.AfterFunc(ctx, p.close)() // before a second Ctrl-C kills the process
		c.prompt = p
	}
	err := do(c)
	if platform == nil {
		return interrupted(ctx, err, "before the answer; nothing was saved")
	}
	step, _ := c.step.Load().(rotation.StepName)
	return interrupted(ctx, err, duringStep[step])
}

// observe shows a step of a rotation.
func (c *conversation) observe(s rotation.Step) {
	if s.Name != rotation.StepWarning {
		c.step.Store(s.Name)
	}
	if note := c.notes[s.Name]; note != "" && !s.Until.IsZero() {
		c.console.show(progress{name: string(s.Name), text: note, keep: true})
		delete(c.notes, s.Name)
	}
	c.console.show(progress{name: string(s.Name), text: s.Text, until: s.Until, keep: s.Name == rotation.StepWarning})
}

// ask asks a question of a rotation. A Confirm is read without echo too: a secret may
// be pasted too early.
func (c *conversation) ask(ctx context.Context, q rotation.Question) (string, error) {
	text := sentences(q.Text)
	switch {
	case q.Secret:
		return c.prompt.ask(ctx, text, "paste, it does not show: ", true)
	case q.Confirm:
		return c.prompt.ask(ctx, text, "Enter: ", true)
	}
	return c.prompt.ask(ctx, text, "> ", false)
}

// atTerminal reports whether a person can be asked.
func (a *app) atTerminal() bool { return term.IsTerminal(int(a.stdin.Fd())) }

// promptOutput returns the stream for questions: the standard error, or the standard
// output if no other stream is a terminal.
func (a *app) promptOutput() *os.File {
	if !term.IsTerminal(int(a.stderr.Fd())) && term.IsTerminal(int(a.stdout.Fd())) {
		return a.stdout
	}
	return a.stderr
}

// print writes a result.
func (a *app) print(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return err
}

// secretPlatform returns the platform for the signing secret.
func (c *conversation) secretPlatform() (rotation.SecretPlatform, error) {
	if c.prompt != nil {
		return rotation.ByHand(c.ask), nil
	}
	client, err := c.platform.client(diffhook.EnvCredentials())
	if err != nil {
		return nil, err
	}
	return rotation.API(client), nil
}

// keyPlatform returns the platform for API keys. The rotation calls the API with the
// keys in the document, also if a person clicks.
func (c *conversation) keyPlatform() (rotation.KeyPlatform, error) {
	client, err := c.platform.client(noCredentials)
	if err != nil {
		return nil, err
	}
	if c.prompt != nil {
		hand := rotation.ByHand(c.ask)
		hand.Client = c.platform.options()
		return hand, nil
	}
	return rotation.API(client), nil
}

// noCredentials stand in: the rotation uses the credentials in the document.
var noCredentials = diffhook.CredentialsFunc(func(context.Context) (string, error) {
	return "", diffhook.ErrInvalidCredentials
})

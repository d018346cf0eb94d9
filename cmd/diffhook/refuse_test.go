package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestNoSecretInArguments runs the program with secrets in all places of the command
// line. Each is refused before a read, and no output repeats a secret.
func TestNoSecretInArguments(t *testing.T) {
	secret := diffhooktest.NewSecret().Reveal()
	key := diffhooktest.New().APIKey().Reveal()
	store := filepath.Join(t.TempDir(), "document.json")
	for name, args := range map[string][]string{
		"secret for the command":          {secret},
		"secret for a fingerprint":        {"rotate-secret", "--store", store, secret},
		"secret to revoke":                {"revoke-secret", "--store", store, secret},
		"secret for an argument too many": {"fingerprint", secret},
		"secret for help":                 {"help", secret},
		"secret as the store":             {"rotate-secret", "--state", "--store", secret},
		"key for an id":                   {"rotate-key", "--store", store, key},
		"key in a flag":                   {"rotate-key", "--api-key=" + key},
		"key in the next argument":        {"rotate-key", "--api-key", key},
		"key in the middle of a text":     {"rotate-key", "--store", "key:" + key},
		"flag named for a secret":         {"rotate-secret", "--secret", secret},
		"value of an unknown flag":        {"rotate-secret", "--new=" + secret},
		"secret as a flag":                {"rotate-secret", "-" + secret},
		"secret as a duration":            {"rotate-secret", "--quiet", secret},
		"secret as a boolean":             {"rotate-secret", "--api=" + secret},
		"secret as a receiver":            {"rotate-secret", "--receiver", secret},
		"secret as a receiver's URL":      {"rotate-secret", "--receiver", "a=" + secret},
		"secret as a URL":                 {"rotate-secret", "--base-url", secret, "--api", "0123456789abcdef"},
		"password of a receiver":          {"rotate-secret", "--receiver", "a=https://user:" + secret + "@example.com/"},
		"token":                           {"rotate-secret", "--receiver-token=" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program([]string{"DIFFHOOK_SECRET_STORE=" + store, "DIFFHOOK_KEY_STORE=" + store}, args...)
			out, _ := cmd.CombinedOutput()
			require.Equal(t, exitUsage, cmd.ProcessState.ExitCode(), "%s", out)
			require.NotContains(t, string(out), secret)
			require.NotContains(t, string(out), key)
			require.NoFileExists(t, store)
		})
	}
}

func TestRefusalSaysWhy(t *testing.T) {
	for _, args := range [][]string{
		{"rotate-key", "--api-key=x"},
		{"rotate-secret", diffhooktest.NewSecret().Reveal()},
		{"rotate-secret", "--receiver", "a=https://user:password@example.com/"},
	} {
		out, err := program(nil, args...).CombinedOutput()
		require.ErrorAs(t, err, new(*exec.ExitError))
		require.Contains(t, string(out), "history")
	}
}

func TestHelpDocumentsEveryFlag(t *testing.T) {
	for _, c := range commands() {
		t.Run(c.name, func(t *testing.T) {
			help, err := helpTexts.ReadFile("help/" + c.name + ".txt")
			require.NoError(t, err)
			for _, args := range [][]string{{"help", c.name}, {c.name, "--help"}, {c.name, "-h"}} {
				out, err := program(nil, args...).Output()
				require.NoError(t, err)
				require.Equal(t, string(help), string(out))
			}
			for word := range strings.FieldsSeq(string(help)) {
				if flag, ok := strings.CutPrefix(strings.Trim(word, ",.:;()[]"), "--"); ok {
					require.Contains(t, flagsOf(c.name), flag, "the help names an unknown flag")
				}
			}
			for _, flag := range flagsOf(c.name) {
				require.Contains(t, string(help), "  --"+flag+" ")
			}
		})
	}
}

func TestHelpDocumentsEveryVariableAndExitCode(t *testing.T) {
	help, err := helpTexts.ReadFile("help/diffhook.txt")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, code := range []string{"0", "1", "2", "3", "4", "128 + n"} {
		require.Contains(t, string(help), "\n  "+code+" ")
		require.Contains(t, string(readme), "\n| "+code+" |")
	}
	for _, name := range []string{variableSecretStore, variableKeyStore, variableReceivers, variableReceiverToken, variableBaseURL} {
		require.Contains(t, string(help), "  "+name+" ")
		require.Contains(t, string(readme), name)
	}
}

// flagsOf returns the names of a command's flags.
func flagsOf(command string) (names []string) {
	env := func(string) string { return "" }
	set := newFlags(command, env).set
	switch command {
	case "rotate-secret":
		set = newRotateSecretFlags(env).set
	case "revoke-secret":
		set = newSecretFlags(command, env).set
	case "rotate-key":
		set = newRotateKeyFlags(env).set
	}
	set.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

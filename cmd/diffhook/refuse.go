package main

import (
	"net/url"
	"strings"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

// whyRefused is the reason why a secret cannot be an argument, and the remedy.
const whyRefused = "an argument stays in the shell's history and is visible to every user of this machine; " +
	"remove the line from the history and replace the credential. "

// refuseSecret returns an error if arg contains an API key (dh_live_…), is a URL with a
// password, or is a flag named for a secret, a token or a password. The error does not
// repeat arg.
func refuseSecret(arg string) error {
	name, isFlag := strings.CutPrefix(arg, "-")
	name, value, hasValue := strings.Cut(strings.TrimPrefix(name, "-"), "=")
	switch {
	case containsKey(arg):
		return usagef("an API key is among the arguments: %sThe tool asks for a key without echo, or reads DIFFHOOK_API_KEY", whyRefused)
	case isFlag && namesSecret(name):
		return usagef("a flag is for a secret: %sThe tool asks for secrets without echo, and reads tokens from the environment", whyRefused)
	case hasPassword(arg) || hasValue && hasPassword(value):
		return usagef("a URL with a password is among the arguments: %sSet DIFFHOOK_RECEIVER_TOKEN instead", whyRefused)
	}
	return nil
}

// containsKey reports whether an API key or a client id is in text.
func containsKey(text string) bool {
	for range redact.Find([]byte(text)) {
		return true
	}
	return false
}

// isKey reports whether text is of the form of an API key, as client ids are.
func isKey(text string) bool {
	_, err := diffhook.NewAPIKey(text)
	return err == nil
}

// namesSecret reports whether the name of a flag is for a credential.
func namesSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"secret", "token", "key", "passw", "authorization", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// hasPassword reports whether text is a URL, or NAME=URL, with a password.
func hasPassword(text string) bool {
	if i := strings.Index(text, "://"); i >= 0 {
		text = text[strings.LastIndexAny(text[:i], "= ,")+1:]
	}
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@") && strings.Contains(text, "://")
	}
	return u.User != nil
}

// isFingerprint reports whether text is of the form of [diffhook.Secret.Fingerprint].
func isFingerprint(text string) bool {
	return len(text) == 16 && strings.Trim(text, "0123456789abcdef") == ""
}
